// One Python session a page, in a Web Worker: live blocks, figures and exercises share it.
//
//     import { session } from "./session.js";
//
//     await session.start(onProgress)   loads Python once; nothing is loaded before. onProgress({ stage, loaded, total })
//                                       in bytes, stage "load", "start". Rejects with an Error whose `reason` is
//                                       "load" (no network, or a file that is not the expected one), "browser", "stopped".
//     await session.run(code, { onText, onPicture, name, namespace, limit })
//                                       -> { ok, error }. onText(text, kind): kind "text" or "warning"; onPicture(bytes
//                                       of a PNG, its name). name: what tracebacks call the code. namespace: whose names
//                                       it sees, "page" unless told. limit: milliseconds from when it begins, after
//                                       which the session is ended.
//                                       error: { kind, type, message, traceback }, kind "python" (the code raised it),
//                                       "stopped", "time", or "crash" (Python itself went down): after these three the
//                                       session is lost.
//     await session.call("package.module:function", arguments, { limit })
//                                       -> what the Python function returns, as JSON: arguments are a list, or an object
//                                       of named ones. Throws an Error with the same `kind`, `type`, `traceback`.
//                                       Modules: minires, and docs/_static/live/*.py as the package `live`.
//     await session.put(name, bytes)    a file in the session's working directory, for files dropped on the page.
//     await session.forget(namespace)   empties a namespace.
//     session.stop()                    ends the worker: the only way out of an endless loop. All names are lost, and
//                                       the next start loads from the browser's cache.
//     session.state                     "none", "starting", "ready" or "busy"
//     session.addEventListener("state", ...), ("lost", ...)
//
// run, call and put start the session where that has not been done. What is asked for is done one after the other.

const here = new URL("./", import.meta.url);

function failure(kind, message, more) {
    return Object.assign(new Error(message ?? kind), { kind, reason: kind }, more);
}

class Session extends EventTarget {
    #worker = null;
    #started = null; // the promise of the start
    #asked = new Map(); // id: { resolve, reject, on }
    #next = 0;
    #watchers = new Set(); // of the start's progress
    state = "none";

    start(onProgress) {
        if (onProgress) this.#watchers.add(onProgress);
        this.#started ??= this.#start();
        return this.#started;
    }

    async #start() {
        this.#become("starting");
        try {
            this.#worker = this.#open();
        } catch (error) {
            this.#end("browser");
            throw failure("browser", error.message);
        }
        await this.#ask({ ask: "start" }, (message) => this.#watchers.forEach((watch) => watch(message)));
        this.#watchers.clear();
        this.#become("ready");
    }

    // A worker made of one line that imports the real one takes on the page's content security policy, which a
    // worker from a file would not: what runs in it can reach no more of the network than the page can.
    #open() {
        const line = `import ${JSON.stringify(new URL("worker.js", here).href)};`;
        const address = URL.createObjectURL(new Blob([line], { type: "text/javascript" }));
        const worker = new Worker(address, { type: "module" });
        worker.onmessage = ({ data }) => this.#hear(data);
        const early = (event) => (event.message ? "browser" : "load"); // a file that is not there has no message
        worker.onerror = (event) => this.#end(this.state === "starting" ? early(event) : "crash", event.message);
        return worker;
    }

    async run(code, { onText, onPicture, name = "code", namespace = "page", limit } = {}) {
        try {
            await this.start();
            return await this.#ask({ ask: "run", code, name, namespace }, (message) => {
                if (message.kind === "picture") onPicture?.(message.what, message.title);
                else onText?.(message.what, message.kind);
            }, limit);
        } catch (error) {
            return { ok: false, error: { kind: error.kind, type: "", message: error.message, traceback: "" } };
        }
    }

    async call(path, given = [], { limit } = {}) {
        await this.start();
        const answer = await this.#ask({ ask: "call", path, given: JSON.stringify(given) }, null, limit);
        if (!answer.ok) throw failure(answer.error.kind, answer.error.message, answer.error);
        return answer.value;
    }

    async put(name, bytes) {
        await this.start();
        return this.#ask({ ask: "put", name, bytes });
    }

    async forget(namespace) {
        if (this.#worker) return this.#ask({ ask: "forget", namespace });
    }

    stop() {
        this.#end("stopped");
    }

    #ask(message, on, limit) {
        const id = this.#next++;
        const asked = { on, limit };
        const answered = new Promise((resolve, reject) => Object.assign(asked, { resolve, reject }));
        this.#asked.set(id, asked);
        this.#worker.postMessage({ id, ...message });
        if (message.ask !== "start") this.#become("busy");
        return answered.finally(() => clearTimeout(asked.timer));
    }

    #hear({ id, kind, ...message }) {
        const asked = this.#asked.get(id);
        if (!asked) return;
        if (kind === "begun") return (asked.timer = asked.limit && setTimeout(() => this.#end("time"), asked.limit));
        if (kind !== "done" && kind !== "failed") return asked.on?.({ kind, ...message });
        this.#asked.delete(id);
        if (kind === "done") asked.resolve(message.value);
        if (this.state === "busy" && !this.#asked.size) this.#become("ready");
        if (kind === "failed") {
            asked.reject(failure(message.reason, message.message));
            this.#end(message.reason, message.message);
        }
    }

    #end(kind, message) {
        const was = this.state;
        this.#worker?.terminate();
        const asked = [...this.#asked.values()];
        this.#asked.clear();
        this.#watchers.clear();
        this.#worker = this.#started = null;
        this.#become("none");
        for (const { reject } of asked) reject(failure(kind, message));
        if (was !== "none") this.dispatchEvent(new CustomEvent("lost", { detail: { kind } }));
    }

    #become(state) {
        if (state === this.state) return;
        this.state = state;
        this.dispatchEvent(new Event("state"));
    }
}

export const session = new Session();
