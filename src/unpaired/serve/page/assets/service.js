// The engine of the playground: pictures are translated by the server that the page came from.
const root = new URL("../", import.meta.url), KEY = "unpaired key";
const MOST_TRIES = 4, LONGEST_WAIT = 30;

export const about = "";

/** Remember the key of this service while the page is open. */
export function remember(key) { sessionStorage.setItem(KEY, key); }

function headers(accept) {
  const key = sessionStorage.getItem(KEY);
  return { accept, ...(key ? { authorization: `Bearer ${key}` } : {}) };
}

/** Return what an answer other than 200 means, in a sentence. */
async function meaning(answer) {
  let said = "";
  try {
    const body = await answer.json();
    said = typeof body.detail === "string" ? body.detail : typeof body.message === "string" ? body.message : "";
  } catch { /* no JSON: its status has to do */ }
  const known = {
    401: "This service wants an API key.", 403: "This API key is not known to the service.",
    404: "The service does not have this model.", 413: "The picture is too large for this service.",
    415: "The service cannot read this kind of file.", 422: "The service cannot read this picture.",
    429: "The service is busy.", 503: "The service is not ready.", 504: "The translation took too long.",
  }[answer.status] || "The service has failed.";
  const sentence = said && answer.status !== 401 ? said[0].toUpperCase() + said.slice(1) : known;
  const error = new Error(/[.!?]$/.test(sentence) ? sentence : `${sentence}.`);
  error.wantsKey = answer.status === 401 || answer.status === 403;
  return error;
}

async function ask(path, options, tell) {
  for (let attempt = 1; ; attempt += 1) {
    let answer;
    try {
      answer = await fetch(new URL(path, root), { ...options, cache: "no-store" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error("The service cannot be reached. Is it still running?");
    }
    if (answer.ok) return answer;
    const wait = Number(answer.headers.get("retry-after"));
    const error = await meaning(answer);
    if (![429, 503].includes(answer.status) || !(wait > 0) || wait > LONGEST_WAIT || attempt === MOST_TRIES) throw error;
    for (let left = Math.ceil(wait); left > 0; left -= 1) {
      tell(`${error.message} Trying again in ${left} ${left === 1 ? "second" : "seconds"}.`);
      await new Promise((resolve) => setTimeout(resolve, 1000));
      if (options.signal && options.signal.aborted) throw options.signal.reason;
    }
  }
}

/** Return the models. */
export async function describe(tell) {
  return (await (await ask("models", { headers: headers("application/json") }, tell)).json()).models;
}

/** Translate a picture; returns a PNG file and the milliseconds that it took. */
export async function translate(bitmap, blob, { model, direction, checkpoint }, { tell, signal }) {
  const form = new FormData(), start = performance.now();
  form.append("image", blob, "picture");
  form.append("model", model.name);
  form.append("direction", direction.direction);
  if (checkpoint) form.append("checkpoint", checkpoint);
  tell("Translating");
  const answer = await ask("translate", { method: "POST", body: form, headers: headers("image/png"), signal }, tell);
  return { blob: await answer.blob(), milliseconds: performance.now() - start };
}

/** Return a model's sample pictures of a side, `a` or `b`: names and files. */
export async function samples(model, side) {
  const place = `page/samples/${encodeURIComponent(model.name)}`, options = { headers: headers("*/*") };
  const answer = await fetch(new URL(place, root), options);
  const names = answer.ok ? (await answer.json()).filter((name) => name.startsWith(side)) : [];
  return Promise.all(names.map(async (name) => ({ name, blob: await (await fetch(new URL(`${place}/${name}`, root), options)).blob() })));
}
