// The page of exercises: each with an editor, the judge of the command line, what is kept of it, and its solution.

import { session } from "../live/session.js";
import { TEXTS, texts } from "../live/texts.js";
import * as progress from "./progress.js";
import { words } from "./words.js";

const LANGUAGE = texts === TEXTS.zh ? "zh" : "en";
const LIMIT = 10; // seconds for a check
const DONE = "✓";
const PAUSE = 400; // milliseconds without a key before what was written is kept

function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
        if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
        else made.setAttribute(key, value);
    }
    made.append(...children);
    return made;
}

const megabytes = (bytes) => (bytes / 1e6).toFixed(1);

class Exercise {
    constructor(around) {
        this.around = around;
        this.name = around.dataset.name;
        this.kind = around.dataset.kind;
        this.shown = around.querySelector(".highlight-python3");
        const code = this.shown.querySelector("pre");
        code.tabIndex = 0; // it may be wider than the page, and is scrolled by keyboard then
        this.start = code.textContent;
        this.derivation = around.querySelector(".exercise-derivation .doc")?.closest("a");
        this.record = progress.read(this.name);
        this.mark = element("span", { class: "exercise-state" });
        around.querySelector("summary").append(this.mark);
        around.addEventListener("focusin", () => {
            if (location.hash !== `#${around.id}`) history.replaceState(null, "", `#${around.id}`); // a reload begins here
        });
        this.build();
        this.tell();
    }

    build() {
        this.bar = element("div", { class: "live-bar", role: "group", "aria-label": words.bar(this.name) });
        this.writing = this.button("write", () => this.open());
        this.checking = this.button("check", () => this.check());
        this.hinting = this.button("more", () => this.check(true));
        this.beginning = this.button("again", () => this.begin());
        this.taking = this.button("back", () => this.takeBack());
        this.giving = this.button("giveUp", ({ detail }) => detail > 1 || this.giveUp()); // a double click is one answer
        this.going = this.button("next", () => next(this));
        this.stopping = this.button("stop", () => session.stop()); // what comes and goes is last: no other button moves
        this.status = element("span", { class: "live-status", role: "status" });
        this.bar.append(this.status);
        this.found = element("div", { class: "live-output exercise-found", role: "region", "aria-live": "polite" });
        this.found.setAttribute("aria-label", texts.output(this.name));
        this.found.hidden = true;
        this.solution = element("div", { class: "exercise-solution" });
        const live = element("div", { class: "live" });
        this.shown.before(live);
        live.append(this.shown, this.bar, this.found, this.solution);
        for (const later of [this.checking, this.stopping, this.hinting, this.beginning]) later.hidden = true;
        this.going.hidden = true;
    }

    button(name, onclick) {
        const made = element("button", { type: "button", class: `live-${name}`, onclick }, words[name]);
        this.bar.append(made);
        return made;
    }

    // What is kept

    keep(changes) {
        Object.assign(this.record, changes);
        if (!progress.write(this.name, this.record)) this.say(words.full);
        this.tell();
        tellAll();
    }

    keepText() {
        clearTimeout(this.waiting);
        this.waiting = null;
        if (this.editor && this.editor.text !== (this.record.text ?? this.start)) this.keep({ text: this.editor.text });
    }

    // Another tab has written: its text is shown, and this one's, if it was not kept yet, is put aside.

    heard() {
        const mine = this.editor && this.waiting ? this.editor.text : undefined;
        clearTimeout(this.waiting);
        this.waiting = null;
        this.record = progress.read(this.name);
        const text = this.record.text ?? this.start;
        if (this.editor && this.editor.text !== text) {
            this.editor.text = text;
            clearTimeout(this.waiting);
            this.waiting = null;
            if (mine !== undefined && mine !== text) {
                this.keep({ before: mine });
                this.say(words.lost);
            }
        }
        this.tell();
    }

    tell() {
        const state = progress.state(this.record);
        this.mark.textContent = words.states[state];
        this.taking.hidden = this.record.before === undefined || !this.editor;
        this.writing.textContent = this.record.text === null ? words.write : words.goOn;
        this.giving.textContent = this.mayBeSeen ? words.solution : words.giveUp;
        return state;
    }

    get mayBeSeen() {
        return this.record.passed !== null || this.record.gave_up !== null;
    }

    say(text) {
        this.status.textContent = text;
    }

    // Writing

    async open() {
        this.around.open = true;
        if (this.editor) return this.editor.focus();
        const { editor } = await import("../vendor/codemirror.js");
        const parent = element("div", { class: "live-editor" });
        this.shown.before(parent);
        this.shown.hidden = true;
        this.editor = editor({
            parent,
            text: this.record.text ?? this.start,
            label: words.editor(this.name),
            onRun: () => this.check(),
            onChange: () => {
                clearTimeout(this.waiting);
                this.waiting = setTimeout(() => this.keepText(), PAUSE);
            },
        });
        this.writing.hidden = true;
        for (const now of [this.checking, this.hinting, this.beginning]) now.hidden = false;
        this.tell();
        this.editor.focus();
    }

    put(text) {
        const before = this.editor.text;
        this.editor.text = text;
        this.keep({ text, before: before === this.start ? this.record.before : before });
        this.found.hidden = true;
        this.say("");
        this.editor.focus();
    }

    begin() {
        if (this.editor.text === this.start) return;
        this.put(this.start);
        this.say(words.begun);
    }

    takeBack() {
        this.put(this.record.before);
    }

    // Checking

    async check(more = false) {
        if (busy) return;
        this.keepText();
        show((busy = true));
        this.stopping.hidden = false;
        const source = this.editor.text;
        const found = await this.judged(source, more);
        this.stopping.hidden = true;
        show((busy = false));
        if (!found) return;
        const seconds = ((performance.now() - this.began) / 1000).toFixed(1);
        this.say(words.took(seconds));
        this.tellFound(found);
        const passed = found.state === "passed";
        this.keep(progress.checked(this.record, source, found.state));
        this.going.hidden = !passed;
        if (passed) await this.explain();
    }

    async judged(source, more) {
        try {
            await this.started();
            this.say(words.checking);
            this.began = performance.now(); // Python is there, and is not counted
            const given = { name: this.name, source, language: LANGUAGE, more, on_page: true };
            return await session.call("minires.exercises:check", given, { limit: LIMIT * 1000 });
        } catch (error) {
            if (error.kind === "time") return this.call("out_of_time", [this.name, LIMIT, LANGUAGE]);
            this.fail(error);
            return null;
        }
    }

    fail(error) {
        this.say(error.kind === "stopped" ? "" : texts[error.kind] ?? error.message);
        this.around.dataset.result = error.kind;
    }

    async started() {
        if (session.state === "none") this.say(texts.starting);
        await session.start(({ stage, loaded, total }) =>
            this.say(stage === "load" ? texts.loading(megabytes(loaded), megabytes(total)) : texts.starting));
    }

    async call(name, given) {
        await this.started();
        return session.call(`minires.exercises:${name}`, given);
    }

    tellFound(found) {
        this.found.hidden = false;
        this.found.dataset.state = this.around.dataset.result = found.state;
        this.found.replaceChildren(element("pre", { tabindex: 0 }, ...withCode(found.text)));
        if (found.printed) this.found.append(element("pre", { class: "live-warning", tabindex: 0 }, found.printed));
        if (found.state === "wrong" && this.derivation) {
            const { previousSibling: before } = this.derivation; // "Derivation: "
            this.found.append(element("p", {}, before.cloneNode(), this.derivation.cloneNode(true)));
        }
    }

    // The solution: after passing, or after giving up twice

    async giveUp() {
        if (busy) return;
        if (!this.mayBeSeen) {
            if (this.giving.textContent !== words.sure) {
                this.giving.textContent = words.sure;
                return this.say(words.ask);
            }
            this.keep(progress.gaveUp(this.record));
            this.say("");
        }
        await this.explain();
    }

    async explain() {
        try {
            const { code, backward, explanation } = await this.call("solution", [this.name, LANGUAGE]);
            if (session.state === "ready" && this.status.textContent === texts.starting) this.say("");
            this.solution.replaceChildren(
                element("p", {}, element("strong", {}, words.solution)),
                element("div", { class: "highlight" }, element("pre", { tabindex: 0 }, backward ?? code)),
                ...explanation.map((paragraph) => element("p", {}, ...withCode(paragraph))),
            );
            this.going.hidden = false;
        } catch (error) {
            this.fail(error);
        }
    }
}

// What stands in backquotes is code.

function withCode(text) {
    return text.split(/`([^`\n]+)`/).map((part, number) => (number % 2 ? element("code", {}, part) : part));
}

// The exercises of one operation stand together: what to predict, to write, and to find.

function grouped() {
    const groups = [];
    for (const [place, each] of all.entries()) {
        const afterPrediction = all[place - 1]?.kind === "predict";
        if (!groups.length || (each.kind !== "find" && !afterPrediction)) groups.push([]);
        groups.at(-1).push(each);
    }
    return groups;
}

// All of them: the map, what is done, and the file with what was written

let busy = false;

function show(busy) {
    for (const each of all) {
        // not "disabled", which would take the focus away from the button that was pressed
        for (const button of [each.checking, each.hinting, each.giving]) button.setAttribute("aria-disabled", busy);
    }
}

function open(each) {
    return !["done", "gaveUp"].includes(progress.state(each.record));
}

function next(after) {
    const place = all.indexOf(after) + 1;
    visit([...all.slice(place), ...all.slice(0, place)].find(open) ?? all[place % all.length]);
}

function visit(exercise) {
    exercise.around.open = true;
    exercise.around.scrollIntoView({ block: "start" });
    exercise.around.querySelector("summary").focus();
}

// A row for each operation, with a box for each of its exercises.

function map() {
    const list = element("ul", { class: "exercise-map", "aria-label": words.map });
    for (const group of grouped()) {
        for (const each of group) {
            const title = `${each.name}: ${each.around.querySelector(".exercise-title").textContent}`;
            each.link = element("a", { class: "exercise-box", href: `#exercise-${each.name}`, title });
        }
        const operation = element("span", {}, group.find((each) => each.kind === "write").name);
        list.append(element("li", {}, operation, ...group.map((each) => each.link)));
    }
    return list;
}

function legend() {
    const box = (text, state) => element("span", { class: "exercise-box", "data-state": state, "aria-hidden": true }, text);
    const kinds = Object.values(words.kinds).map(([letter, meaning]) => [box(letter, "none"), meaning]);
    const states = ["done", "started", "gaveUp"].map((state) => [box(state === "done" ? DONE : "", state), words.states[state]]);
    return element("p", { class: "exercise-legend" }, ...[...kinds, ...states].map((pair) => element("span", {}, ...pair)));
}

function tellAll() {
    const first = all.find(open);
    for (const each of all) {
        const state = each.tell();
        const [letter, meaning] = words.kinds[each.kind];
        each.link.dataset.state = state;
        each.link.textContent = state === "done" ? DONE : letter;
        each.link.setAttribute("aria-label", [each.name, meaning, words.states[state]].filter(Boolean).join(", "));
        if (each === first) each.link.setAttribute("aria-current", "step");
        else each.link.removeAttribute("aria-current");
    }
    const done = all.filter((each) => progress.state(each.record) === "done").length;
    count.textContent = words.done(done, all.length);
    going.hidden = !first;
    if (first) going.textContent = (first === all[0] && !done ? words.begin : words.continue)(first.name);
}

function download() {
    for (const each of all) each.keepText();
    const text = progress.exported(all.map((each) => each.name));
    const address = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    const name = owner.value.replace(/[\\/:*?"<>|]/g, " ").trim() || "minires-exercises";
    element("a", { href: address, download: `${name}.json` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
    return text;
}

// For the next one at this computer. What was here is exported first, and comes back by the same button.

let erased = null;

function erase() {
    if (erased !== null) {
        takeOver(erased);
        return tellErasing(null, words.restored);
    }
    if (erasing.textContent !== words.sureErase) {
        erasing.textContent = words.sureErase;
        return (said.textContent = words.askErase);
    }
    const text = download();
    for (const each of all) progress.erase(each.name);
    for (const each of all) {
        each.heard();
        each.found.hidden = true;
        each.solution.replaceChildren();
    }
    owner.value = "";
    tellAll();
    tellErasing(text, words.erased);
}

function tellErasing(text, saying) {
    erased = text;
    erasing.textContent = text === null ? words.erase : words.restore;
    said.textContent = saying;
}

// -> how many texts

function takeOver(text) {
    const starts = Object.fromEntries(all.map((each) => [each.name, each.start]));
    const taken = progress.imported(text, starts);
    for (const each of all) each.heard();
    tellAll();
    return taken;
}

async function upload(file) {
    for (const each of all) each.keepText();
    try {
        said.textContent = words.imported(takeOver(await file.text()));
    } catch {
        said.textContent = words.broken;
    }
}

const all = [...document.querySelectorAll(".exercise")].map((around) => new Exercise(around));
const count = element("span", { class: "live-status" });
const going = element("button", { type: "button", class: "exercise-going live-run", onclick: () => visit(all.find(open)) });
const said = element("span", { class: "live-status", role: "status" });
const choose = element("input", { type: "file", accept: ".json", class: "exercise-file", tabindex: -1 });
choose.setAttribute("aria-label", words.import);
choose.addEventListener("change", async () => {
    if (choose.files[0]) await upload(choose.files[0]);
    choose.value = "";
});
const owner = element("input", { type: "text", autocomplete: "off", size: 12 });
const erasing = element("button", { type: "button", class: "exercise-erase", onclick: ({ detail }) => detail > 1 || erase() }, words.erase);
erasing.addEventListener("blur", () => erased === null && (erasing.textContent = words.erase)); // who goes on means no
const bar = element(
    "div",
    { class: "live-bar", role: "group", "aria-label": words.map },
    going,
    count,
    element("label", { class: "exercise-owner" }, words.owner, owner),
    element("button", { type: "button", class: "exercise-export", onclick: download }, words.export),
    element("button", { type: "button", class: "exercise-import", onclick: () => choose.click() }, words.import),
    choose,
    erasing,
    said,
);
all[0].around.before(bar, legend(), map());
tellAll();
progress.watch((name) => {
    all.find((each) => each.name === name)?.heard();
    tellAll();
});
addEventListener("pagehide", () => all.forEach((each) => each.keepText()));
const named = (hash) => all.find((each) => `#exercise-${each.name}` === hash);
document.querySelector("article").addEventListener("click", (event) => {
    const asked = named(event.target.closest("a")?.hash);
    if (!asked) return;
    event.preventDefault();
    visit(asked);
});
if (named(location.hash)) visit(named(location.hash));
document.documentElement.classList.add("live-ready", "practice-ready");
