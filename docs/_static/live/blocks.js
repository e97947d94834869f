// The Python blocks of a page: each with Run, its output below, and one session for all of them, in order. Source that
// the page shows by inclusion can be edited: the change takes its place in the session, and gradcheck looks at it.

import { element, progressText } from "./elements.js";
import { session } from "./session.js";
import { texts } from "./texts.js";

let busy = false; // with work on some piece

// A piece of code on the page with a line of buttons, a place for output and, after the first "Edit", an editor.

class Piece {
    constructor(around, number, title) {
        this.around = around;
        this.number = number;
        this.title = title;
        this.highlighted = around.firstElementChild;
        this.original = around.querySelector("pre").textContent.trimEnd();
        this.status = element("span", { class: "live-status", role: "status" });
        this.bar = element("div", { class: "live-bar", role: "group", "aria-label": title });
        this.output = element("div", { class: "live-output", role: "region", "aria-label": texts.output(title) });
        this.output.hidden = true;
        around.append(this.bar, this.output);
    }

    add(name, onclick) {
        const button = element("button", { type: "button", class: `live-${name}`, onclick }, texts[name]);
        this.bar.append(button);
        return button;
    }

    say(text) {
        this.status.textContent = text;
    }

    clear() {
        this.output.replaceChildren();
        this.output.hidden = true;
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
        const onload = () => URL.revokeObjectURL(address);
        this.output.append(element("img", { src: address, alt: texts.picture(name), onload }));
    }

    get code() {
        return this.editor?.text ?? this.original;
    }

    async edit() {
        if (this.editor) return this.editor.focus();
        const { editor } = await import("../vendor/codemirror.js");
        const parent = element("div", { class: "live-editor" });
        this.highlighted.after(parent);
        this.highlighted.hidden = true;
        const onRun = () => this.run.click();
        this.editor = editor({ parent, text: this.original, label: texts.editor(this.title), onRun });
        this.editor.focus();
        this.putBack.hidden = false;
        this.editButton.hidden = true;
    }

    reset() {
        if (busy) return;
        this.editor?.close();
        this.editor = null;
        this.around.querySelector(".live-editor")?.remove();
        this.highlighted.hidden = false;
        this.editButton.hidden = false;
        this.putBack.hidden = true;
        this.editButton.focus();
        this.clear();
        this.say("");
    }

    // Runs code in the session, with the output below. -> did it run to its end?

    async running(code, options) {
        this.clear();
        this.say(texts.running);
        const began = performance.now();
        const { ok, error } = await session.run(code, {
            ...options,
            onText: (text, kind) => this.print(text, kind),
            onPicture: (bytes, name) => this.picture(bytes, name),
        });
        const seconds = ((performance.now() - began) / 1000).toFixed(1);
        this.around.dataset.result = ok ? "ok" : error.kind;
        if (ok) this.say(this.output.hidden ? texts.silent(seconds) : texts.done(seconds));
        else this.fail(error);
        return ok;
    }

    fail(error) {
        if (error.traceback) this.print(error.traceback, "error");
        this.say(error.kind === "python" ? texts.failed(error.type) : texts[error.kind] ?? error.message);
        this.around.dataset.result = error.kind;
    }
}

class CodeBlock extends Piece {
    constructor(around, place) {
        super(around, place + 1, texts.block(place + 1));
        const reason = around.dataset.needs;
        this.ran = false; // in the present session
        if (reason) this.say(texts.needs[reason]);
        else {
            this.run = this.add("run", () => work([this]));
            this.stop = this.add("stop", () => session.stop());
            this.upTo = this.add("upTo", () => work(runnable.slice(0, runnable.indexOf(this) + 1)));
            this.upTo.hidden = !runnable.length;
            this.editButton = this.add("edit", () => this.edit());
            this.putBack = this.add("putBack", () => this.reset());
            this.stop.hidden = this.putBack.hidden = true;
            runnable.push(this);
        }
        this.bar.append(this.status);
    }

    async work() {
        this.ran = await this.running(this.code, { name: this.title.toLowerCase() });
        return this.ran;
    }

    fail(error) {
        super.fail(error);
        const above = runnable.slice(0, runnable.indexOf(this));
        if (error.kind === "python" && above.some((block) => !block.ran)) this.say(texts.failedBelow(error.type));
    }
}

// Shown source: "Try a change" opens it in an editor; "Check" puts it into the session and runs the gradient checks.

class Source extends Piece {
    constructor(around, place) {
        const path = around.dataset.object;
        super(around, place + 1, path.split(":")[1]);
        this.path = path;
        this.whole = !("cut" in around.dataset);
        this.editButton = this.add("change", () => this.edit());
        this.run = this.add("check", () => work([this]));
        this.stop = this.add("stop", () => session.stop());
        this.putBack = this.add("putBack", () => this.reset());
        this.run.hidden = this.stop.hidden = this.putBack.hidden = true;
        this.bar.append(this.status);
    }

    // Of a part, the editor shows the whole: only that can take its place.

    async edit() {
        if (!this.whole) {
            if (!(await started(this))) return;
            this.original = await session.call("live.changes:source", [this.path]);
            this.whole = true;
            this.say("");
        }
        await super.edit();
        this.run.hidden = false;
    }

    async reset() {
        if (busy) return;
        super.reset();
        this.run.hidden = true;
        if (this.placed) await session.call("live.changes:put_back", [this.path]);
        this.placed = false;
    }

    async place() {
        try {
            await session.call("live.changes:put", [this.path, this.code]);
            this.placed = true;
        } catch (error) {
            this.clear();
            this.fail(error);
        }
        return this.placed;
    }

    async work() {
        this.placed = false;
        if (!(await this.place())) return false;
        const code = `from live.changes import check\n\ncheck(${JSON.stringify(this.path)}, ${JSON.stringify(texts.unchecked)})`;
        return this.running(code, { name: "check", namespace: "check" });
    }
}

// Work on several pieces, one after the other, until one fails.

async function started(piece) {
    try {
        if (session.state === "none") piece.say(texts.starting);
        await session.start((progress) => piece.say(progressText(progress)));
        return true;
    } catch (error) {
        piece.fail(error);
        return false;
    }
}

async function work(pieces) {
    if (busy) return;
    show((busy = true));
    if (await started(pieces.at(-1))) {
        const lost = sources.filter((source) => source.editor && source.placed === null && !pieces.includes(source));
        for (const source of lost) await source.place();
        for (const piece of pieces) if (!(await piece.work())) break;
    }
    show((busy = false));
}

// Buttons that wait are not disabled: a button with the focus would lose it.

function show(busy) {
    for (const piece of [...runnable, ...sources]) {
        piece.stop.hidden = !busy;
        for (const button of [piece.run, piece.upTo, piece.putBack]) button?.setAttribute("aria-disabled", busy);
    }
}

// A session that was ended has no names, and the library's own functions: changes are put in again before the next run.

session.addEventListener("lost", () => {
    for (const block of runnable) block.ran = false;
    for (const source of sources) if (source.placed) source.placed = null;
});

const runnable = [];
document.querySelectorAll(".live[data-block]").forEach((around, place) => new CodeBlock(around, place));
const sources = [...document.querySelectorAll(".live[data-object]")].map((around, place) => new Source(around, place));
document.documentElement.classList.add("live-ready");

// Code that is wider than its box, and output that is higher, scroll by the keyboard, too.

new ResizeObserver(() => {
    for (const box of document.querySelectorAll("article pre, .live-output")) {
        if (box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight) box.tabIndex = 0;
        else box.removeAttribute("tabindex");
    }
}).observe(document.querySelector("article"));
