// Python in a Web Worker: loads Pyodide, NumPy, Pillow and the site's own minires, and runs code by messages.
//
// Takes   {id, ask: "start" | "run" | "call" | "put" | "forget", ...}, one after the other.
// Sends   {id, kind: "begun" | "progress" | "text" | "warning" | "picture", ...} while it works,
//         {id, kind: "done", value} or {id, kind: "failed", reason, message} at the end.
// session.js is the only one that talks to it.

const here = new URL("./", import.meta.url);
const SITE_PACKAGES = "/lib/python3.12/site-packages";
let pyodide, running;

// Every file that is loaded is known beforehand: its size, and the hash of its bytes, without which it is not used.

function loader(settings, onBytes) {
    const held = new Map();
    const fetched = globalThis.fetch.bind(globalThis);

    // The browser's own check holds all bytes back until the last has come, and would leave no progress to see: it is
    // asked only where pages may not hash by themselves, at addresses without encryption.
    async function bytesOf(file) {
        const address = new URL(file.name, new URL(file.from === "site" ? "./" : settings.pyodide, here));
        const response = await fetched(address, crypto.subtle ? {} : { integrity: `sha256-${file.sha256}` });
        if (!response.ok) throw new Error(`${address}: ${response.status}`);
        const bytes = new Uint8Array(file.bytes);
        let at = 0;
        for (const reader = response.body.getReader(); ;) {
            const { done, value } = await reader.read();
            if (done) break;
            if (at + value.length > file.bytes) throw new Error(`${address} is longer than expected`);
            bytes.set(value, at);
            at += value.length;
            onBytes(value.length);
        }
        if (crypto.subtle && (await hash(bytes)) !== file.sha256) throw new Error(`${address} is not the expected file`);
        return bytes;
    }

    for (const file of settings.files) held.set(file.name, bytesOf(file));
    held.set("pyodide-lock.json", Promise.resolve(JSON.stringify(settings.lock))); // ours: of these packages alone
    for (const bytes of held.values()) bytes.catch(() => {}); // whoever asks for it hears of the error

    const file = (name) => held.get(name) ?? Promise.reject(new Error(`${name} is not among the files of the site`));

    // What Pyodide asks for by itself is handed to it from the same files.
    globalThis.fetch = async (address) => {
        const name = new URL(address.url ?? address).pathname.split("/").pop();
        const type = name.endsWith(".wasm") ? "application/wasm" : "application/octet-stream";
        return new Response(await file(name), { headers: { "Content-Type": type } });
    };
    return file;
}

async function hash(bytes) {
    return btoa(String.fromCharCode(...new Uint8Array(await crypto.subtle.digest("SHA-256", bytes))));
}

async function module(bytes) {
    const address = URL.createObjectURL(new Blob([bytes], { type: "text/javascript" }));
    try {
        return await import(address);
    } finally {
        URL.revokeObjectURL(address);
    }
}

async function start({ id }) {
    const settings = await (await fetch(new URL("settings.json", here), { cache: "no-cache" })).json();
    const total = settings.files.reduce((sum, file) => sum + file.bytes, 0);
    let loaded = 0;
    const progress = (stage) => postMessage({ id, kind: "progress", stage, loaded, total });
    progress("load");
    const file = loader(settings, (count) => {
        loaded += count;
        progress("load");
    });
    const { loadPyodide } = await module(await file("pyodide.mjs"));
    await module(await file("pyodide.asm.js"));
    pyodide = await loadPyodide({
        indexURL: new URL(settings.pyodide, here).href,
        packages: Object.keys(settings.lock.packages),
    });
    progress("start");
    pyodide.unpackArchive(await file(settings.wheel), "wheel", { extractDir: SITE_PACKAGES });
    running = pyodide.pyimport("live.running");
    running.begin();
}

function run({ id, code, name, namespace }) {
    const send = (kind, what, title) => {
        if (kind === "picture") what = what.toJs();
        postMessage({ id, kind, what, title });
    };
    return JSON.parse(running.run(code, name, namespace, send));
}

const answers = {
    start,
    run,
    call: ({ path, given }) => JSON.parse(running.call(path, given)),
    put: ({ name, bytes }) => void pyodide.FS.writeFile(name, new Uint8Array(bytes)),
    forget: ({ namespace }) => void running.forget(namespace),
};

let last = Promise.resolve();
self.onmessage = ({ data }) => {
    last = last.then(async () => {
        postMessage({ id: data.id, kind: "begun" });
        try {
            postMessage({ id: data.id, kind: "done", value: await answers[data.ask](data) });
        } catch (error) {
            const reason = data.ask === "start" ? "load" : "crash";
            postMessage({ id: data.id, kind: "failed", reason, message: String(error?.message ?? error) });
        }
    });
};
