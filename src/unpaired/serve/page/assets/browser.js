// The engine of the page without a server: everything is translated in this browser.
const page = new URL("./", import.meta.url), calls = new Map();
let worker = null, number = 0;

export const about = "Runs in this browser: no picture leaves this device.";

/** Return the models, or say what is missing. */
export async function describe() {
  if (location.protocol === "file:") {
    throw new Error("This page has to come from a web server, since browsers load no modules from files. In its folder run:\n"
      + "python -m http.server --bind 127.0.0.1\nand open http://127.0.0.1:8000/");
  }
  const answer = await fetch(new URL("model.json", page));
  if (!answer.ok) throw new Error("page/model.json is missing: export the model again.");
  for (const name of ["ort.js", "ort.wasm"]) {
    const found = await fetch(new URL(`runtime/${name}`, page), { method: "HEAD" });
    if (!found.ok) {
      throw new Error("ONNX Runtime Web is not in this folder yet. Get it with\nnpm install onnxruntime-web\n"
        + "and export again with --runtime node_modules/onnxruntime-web/dist, or copy from that folder\n"
        + "ort.wasm.bundle.min.mjs to page/runtime/ort.js and\nort-wasm-simd-threaded.wasm to page/runtime/ort.wasm.");
    }
  }
  return (await answer.json()).models;
}

/** Translate a picture; returns a PNG file and the milliseconds that it took. */
export function translate(bitmap, blob, { direction }, { tell, signal }) {
  if (!worker) {
    worker = new Worker(new URL("worker.js", page), { type: "module" });
    worker.onerror = () => calls.forEach(({ reject }) => reject(new Error("The runtime cannot be started in this browser.")));
    worker.onmessage = ({ data }) => {
      const call = calls.get(data.id);
      if (!call) return;
      if (data.text) { call.tell(data.text); return; }
      calls.delete(data.id);
      if (data.error) call.reject(new Error(`This picture could not be translated: ${data.error}`)); else call.resolve(data);
    };
  }
  return new Promise((resolve, reject) => {
    const id = number += 1;
    calls.set(id, { resolve, reject, tell });
    signal.addEventListener("abort", () => { calls.delete(id); reject(signal.reason); });
    worker.postMessage({ id, bitmap, direction });
  });
}

/** There are none. */
export async function samples() { return []; }
