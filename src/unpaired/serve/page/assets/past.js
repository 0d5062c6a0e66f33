// What was translated, in this browser alone (IndexedDB); where a browser keeps nothing, there is no history.
const NAME = "unpaired-playground", STORE = "past", MOST = 20, LARGEST = 24e6;

function open() {
  return new Promise((resolve, reject) => {
    const asked = indexedDB.open(NAME, 1);
    asked.onupgradeneeded = () => asked.result.createObjectStore(STORE, { keyPath: "when" });
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
  });
}

async function within(mode, action) {
  try {
    const base = await open();
    try {
      return await new Promise((resolve, reject) => {
        const change = base.transaction(STORE, mode), request = action(change.objectStore(STORE));
        change.oncomplete = () => resolve(request.result);
        change.onerror = change.onabort = () => reject(change.error);
      });
    } finally { base.close(); }
  } catch { return undefined; }
}

/** Return the entries, the latest first. */
export async function all() { return ((await within("readonly", (store) => store.getAll())) || []).reverse(); }

/** Keep an entry, and the latest of the others. */
export async function add(entry) {
  if (entry.input.size + entry.output.size > LARGEST) return;
  await within("readwrite", (store) => store.put({ ...entry, when: Date.now() }));
  const old = (await all()).slice(MOST);
  for (const { when } of old) await within("readwrite", (store) => store.delete(when));
}

/** Forget everything. */
export function clear() { return within("readwrite", (store) => store.clear()); }
