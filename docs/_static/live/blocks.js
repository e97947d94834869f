// The Python blocks of a page: each with Run, its output below, and one session for all of them, in order.

import { session } from "./session.js";
import { texts } from "./texts.js";

const MEGABYTE = 1e6;

function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
        if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
        else if (value === true) made.setAttribute(key, "");
        else if (value !== false && value != null) made.setAttribute(key, value);
    }
    made.append(...children);
    return made;
}

function button(text, onclick, more = {}) {
    return element("button", { type: "button", onclick, ...more }, text);
}

class Block {
    constructor(around, place) {
        this.around = around;
        this.number = place + 1;
        this.shown = around.querySelector("pre");
        this.original = this.shown.textContent;
        this.ran = false; // in the present session
        const reason = around.dataset.needs;
        this.status = element("span", { class: "live-status", role: "status" }, reason ? texts.needs[reason] : "");
        this.bar = element("div", { class: "live-bar", role: "group", "aria-label": texts.block(this.number) });
        if (!reason) {
            this.runButton = button(texts.run, () => runAll([this]), { class: "live-run" });
            this.upToButton = button(texts.upTo, () => runAll(runnable.slice(0, runnable.indexOf(this) + 1)));
            this.stopButton = button(texts.stop, () => session.stop(), { hidden: true, class: "live-stop" });
            this.bar.append(this.runButton, this.stopButton);
            if (place > 0) this.bar.append(this.upToButton);
        }
        this.bar.append(this.status);
        around.append(this.bar);
    }

    get code() {
        return this.original;
    }

    // Output below the block: text and pictures in the order in which they come.

    clear() {
        this.output?.remove();
        this.output = element("div", { class: "live-output", role: "region", tabindex: 0,
            "aria-label": texts.output(this.number) });
        this.output.hidden = true;
        this.around.append(this.output);
    }

    print(text, kind) {
        this.output.hidden = false;
        const last = this.output.lastElementChild;
        if (last?.matches(`pre.live-${kind}`)) last.append(text);
        else this.output.append(element("pre", { class: `live-${kind}` }, text));
    }

    picture(bytes, name) {
        this.output.hidden = false;
        const address = URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
        const image = element("img", { src: address, alt: texts.picture(name), onload: () => URL.revokeObjectURL(address) });
        this.output.append(image);
    }

    say(text) {
        this.status.textContent = text;
    }

    async run() {
        this.clear();
        this.say(texts.running);
        this.around.classList.add("live-busy");
        const began = performance.now();
        const { ok, error } = await session.run(this.code, {
            name: texts.block(this.number).toLowerCase(),
            onText: (text, kind) => this.print(text, kind),
            onPicture: (bytes, name) => this.picture(bytes, name),
        });
        this.around.classList.remove("live-busy");
        const seconds = ((performance.now() - began) / 1000).toFixed(1);
        this.ran = ok;
        this.around.dataset.result = ok ? "ok" : error.kind;
        if (ok) this.say(this.output.hidden ? `${texts.done(seconds)}. ${texts.silent}` : texts.done(seconds));
        else if (error.kind === "python") this.sayError(error);
        else this.say(texts[error.kind] ?? error.message);
        return ok;
    }

    sayError(error) {
        this.print(error.traceback, "error");
        const above = runnable.slice(0, runnable.indexOf(this)).some((block) => !block.ran);
        this.say(above ? `${texts.failed}: ${error.type}. ${texts.earlier}` : `${texts.failed}: ${error.type}`);
    }
}

// Several blocks, one after the other, until one fails.

let busy = false;

async function runAll(list) {
    if (busy) return;
    busy = true;
    showBusy();
    const last = list.at(-1);
    try {
        last.say(texts.starting);
        await session.start(({ stage, loaded, total }) => {
            const megabytes = (bytes) => (bytes / MEGABYTE).toFixed(1);
            last.say(stage === "load" ? texts.loading(megabytes(loaded), megabytes(total)) : texts.starting);
        });
        for (const block of list) if (!(await block.run())) break;
    } catch (error) {
        last.say(texts[error.kind] ?? error.message);
        last.around.dataset.result = error.kind;
    }
    busy = false;
    showBusy();
}

function showBusy() {
    for (const block of runnable) {
        block.stopButton.hidden = !busy;
        block.runButton.hidden = busy;
        block.upToButton.disabled = busy;
    }
}

session.addEventListener("lost", () => runnable.forEach((block) => (block.ran = false)));

const blocks = [...document.querySelectorAll(".live[data-block]")].map((around, place) => new Block(around, place));
const runnable = blocks.filter((block) => block.runButton);
document.documentElement.classList.add("live-ready");
