// The Python blocks of a page: each with Run, its output below, and one session for all of them, in order. Source that
// the page shows by inclusion can be edited: the change takes its place in the session, and gradcheck looks at it.

import { element, progressText } from "./elements.js";
import { sameText } from "./output.js";
import { session } from "./session.js";
import { texts } from "./texts.js";

const LOST = new Set(["stopped", "time", "crash"]); // errors that end the session
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

    get caption() {
        return texts.own;
    }

    say(text) {
        this.status.textContent = text;
    }

    clear() {
        this.output.replaceChildren();
        this.output.hidden = true;
    }

    show(...parts) {
        if (this.output.hidden) this.output.append(element("p", { class: "live-caption" }, this.caption));
        this.output.hidden = false;
        this.output.append(...parts);
    }

    print(text, kind) {
        const last = this.output.lastElementChild;
        if (last?.matches(`pre.live-${kind}`)) last.append(text);
        else this.show(element("pre", { class: `live-${kind}` }, text));
    }

    picture(bytes, name) {
        const address = URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
        const onload = () => URL.revokeObjectURL(address);
        this.show(element("img", { src: address, alt: texts.picture(name), onload }));
    }

    get code() {
        return this.editor?.text ?? this.original;
    }

    // What is written is kept as long as the tab is open: after a reload "Edit" shows it again.

    get place() {
        return `minires.blocks${location.pathname}#${this.around.dataset.object ?? this.number}`;
    }

    get kept() {
        try {
            const { original, text } = JSON.parse(sessionStorage.getItem(this.place)) ?? {};
            return original === this.original ? text : undefined;
        } catch {
            return undefined;
        }
    }

    set kept(text) {
        try {
            if (text === undefined) sessionStorage.removeItem(this.place);
            else sessionStorage.setItem(this.place, JSON.stringify({ original: this.original, text }));
        } catch {} // a browser that keeps nothing
    }

    async edit() {
        if (this.editor) return this.editor.focus();
        const { editor } = await import("../vendor/codemirror.js");
        const parent = element("div", { class: "live-editor" });
        this.highlighted.after(parent);
        this.highlighted.hidden = true;
        const onRun = () => this.run.click();
        const onChange = () => (this.kept = this.code);
        const label = texts.editor(this.title);
        this.editor = editor({ parent, text: this.kept ?? this.original, label, onRun, onChange });
        this.editor.focus();
        this.say(texts.keys(this.run.textContent));
        this.putBack.hidden = false;
        this.editButton.hidden = true;
    }

    reset() {
        if (busy) return;
        this.editor?.close();
        this.editor = null;
        this.kept = undefined;
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
        if (ok) this.say(this.done(seconds));
        else this.fail(error);
        return ok;
    }

    done(seconds) {
        return this.output.hidden ? texts.silent(seconds) : texts.done(seconds);
    }

    // What is wrong stands first, then the line of the page's code; how Python got there is folded away.

    fail(error) {
        this.around.dataset.result = error.kind;
        if (error.kind !== "python") {
            const said = texts[error.kind] ?? error.message;
            return this.say(LOST.has(error.kind) ? `${said} ${texts.gone(this.again)}` : said);
        }
        const where = error.where ? [this.line(error.where)] : [];
        const message = element("p", {}, element("strong", {}, error.type), error.message ? `: ${error.message}` : "");
        const traceback = element("pre", { class: "live-error" }, error.traceback);
        const way = element("details", {}, element("summary", {}, texts.traceback), traceback);
        this.show(element("div", { class: "live-failure" }, message, ...where, way));
        this.say(texts.failed(error.type));
    }

    line({ name, line, text }) {
        const other = runnable.find((block) => block.called === name && block !== this);
        const said = other ? element("a", { href: `#${other.around.id}` }, texts.where(other.title, line)) : texts.where(name, line);
        return element("p", {}, name === this.called ? texts.here(line) : said, " ", element("code", {}, text));
    }
}

class CodeBlock extends Piece {
    constructor(around, place) {
        super(around, place + 1, texts.block(place + 1));
        const reason = around.dataset.needs;
        this.called = this.title.toLowerCase(); // in tracebacks
        around.id ||= `live-${place + 1}`;
        this.ran = false; // in the present session
        const follows = around.nextElementSibling;
        this.prints = follows?.matches(".live-expected") ? follows.querySelector("pre").textContent : null;
        if (reason) this.say(texts.needs[reason]);
        else {
            this.run = this.add("run", () => work([this]));
            this.upTo = this.add("upTo", () => work(runnable.slice(0, runnable.indexOf(this) + 1)));
            this.upTo.hidden = !runnable.length;
            this.editButton = this.add("edit", () => this.edit());
            this.putBack = this.add("putBack", () => this.reset());
            this.stop = this.add("stop", () => session.stop()); // comes and goes: last, so that no other button moves
            this.stop.hidden = this.putBack.hidden = true;
            runnable.push(this);
        }
        this.bar.append(this.status);
    }

    get again() {
        return this.upTo.hidden ? texts.run : texts.upTo;
    }

    done(seconds) {
        const agrees = this.prints === null ? "" : sameText(this.printed, this.prints);
        this.around.dataset.agrees = agrees;
        if (this.prints === null || (!agrees && this.output.hidden)) return super.done(seconds);
        return (agrees ? texts.agrees : texts.differs)(seconds);
    }

    get printed() {
        return [...this.output.querySelectorAll(".live-text")].map((part) => part.textContent).join("");
    }

    async work() {
        this.ran = await this.running(this.code, { name: this.called });
        return this.ran;
    }

    fail(error) {
        super.fail(error);
        const above = runnable.slice(0, runnable.indexOf(this));
        if (error.type === "NameError" && above.some((block) => !block.ran)) this.say(texts.failedBelow(error.type, texts.upTo));
    }
}

// Shown source: "Try a change" opens it in an editor; "Check" puts it into the session and runs the gradient checks.

class Source extends Piece {
    constructor(around, place) {
        const path = around.dataset.object;
        super(around, place + 1, path.split(":")[1]);
        this.called = texts.edited(this.title);
        this.path = path;
        this.whole = !("cut" in around.dataset);
        this.placed = null; // the text that has taken the library's place in the session
        this.editButton = this.add("change", () => this.edit());
        this.run = this.add("check", () => work([this]));
        this.putBack = this.add("putBack", () => this.reset());
        this.stop = this.add("stop", () => session.stop());
        this.run.hidden = this.stop.hidden = this.putBack.hidden = true;
        this.bar.append(this.status);
    }

    // Of a part, the editor shows the whole: only that can take its place.

    async edit() {
        if (!this.whole) {
            if (!(await started(this))) return;
            this.original = await session.call("live.changes:source", [this.path]);
            this.whole = true;
        }
        await super.edit();
        this.run.hidden = false;
    }

    async reset() {
        if (busy) return;
        super.reset();
        this.run.hidden = true;
        if (this.placed !== null) await session.call("live.changes:put_back", [this.path]);
        this.placed = null;
    }

    get again() {
        return texts.check;
    }

    // Is something else in its place than what the editor shows?

    get waits() {
        return Boolean(this.editor) && this.code !== (this.placed ?? this.original);
    }

    // -> is it there now?

    async put() {
        const code = this.code;
        try {
            await session.call("live.changes:put", [this.path, code, this.called]);
        } catch (error) {
            this.clear();
            this.fail(error);
            return false;
        }
        this.placed = code;
        return true;
    }

    async work() {
        if (!(await this.put())) return false;
        const given = [this.path, texts.checks].map((part) => JSON.stringify(part)).join(", ");
        return this.running(`from live.changes import check\n\ncheck(${given})`, { name: "check", namespace: "check" });
    }

    get caption() {
        return texts.verdict;
    }

    // What is wrong comes as warnings.

    done(seconds) {
        if (this.output.textContent.includes(texts.checks.unchecked)) return texts.done(seconds);
        const wrong = this.output.querySelector(".live-warning");
        this.around.dataset.right = !wrong;
        return (wrong ? texts.wrong : texts.right)(seconds);
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
        const waiting = sources.filter((source) => source.waits && !pieces.includes(source));
        const broken = await putAll(waiting);
        if (broken) pieces.at(-1).say(texts.broken(broken.called));
        else for (const piece of pieces) if (!(await piece.work())) break;
    }
    show((busy = false));
}

// What was changed is used by what runs, whether it was checked or not. -> the one that cannot be, if there is one.

async function putAll(waiting) {
    for (const source of waiting) {
        if (!(await source.put())) return source;
        source.clear();
        source.say(texts.inPlace);
    }
    return null;
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
    for (const source of sources) source.placed = null;
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
