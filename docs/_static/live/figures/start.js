// Makes a page's pictures in docs/images/figures alive at the first click, until which nothing is loaded. NAME.js has
//
//     export const words = { en: {...}, zh: {...} };
//     export default async function (body, words, call) { ... }     fills the body; call(function, ...arguments)
//
// where call is the newest wish's answer from NAME.py: `await call("numbers", x)`, null where a later call replaced it.

import { session } from "../session.js";
import { TEXTS, texts } from "../texts.js";
import { element } from "./parts.js";

const ENDED = ["stopped", "time", "crash"]; // the ways in which Python ends: the next call starts it anew
const WORDS = {
    en: {
        start: "Start this figure", colon: ": ", again: "As at the start", figure: "Figure to try",
        ended: "Python was ended. Change something in the figure, and it starts again.",
    },
    zh: {
        start: "启动这幅图", colon: "：", again: "恢复初始状态", figure: "可以操作的图",
        ended: "Python 已终止。改动图中任意一处，它就会重新启动。",
    },
};
const language = texts === TEXTS.zh ? "zh" : "en";
const said = WORDS[language];

// One question at a time; of those that wait only the newest is asked.

function caller(name, failed, worked) {
    let asking = Promise.resolve();
    let newest = 0;
    return (what, ...given) => {
        const mine = ++newest;
        const answer = asking.then(async () => {
            if (mine !== newest) return null;
            try {
                const value = await session.call(`live.figures.${name}:${what}`, given);
                worked();
                return value;
            } catch (error) {
                failed(error);
                return null;
            }
        });
        asking = answer;
        return answer;
    };
}

class Figure {
    constructor(box) {
        this.box = box;
        this.name = box.dataset.figure;
        this.picture = box.firstElementChild;
        this.image = this.picture.querySelector("img");
        const attributes = { type: "button", "aria-label": `${said.start}${said.colon}${this.image.alt}`, onclick: () => this.start() };
        this.still = element("button", { class: "figure-still", ...attributes });
        const drawn = this.image.closest("picture") ?? this.image;
        drawn.replaceWith(this.still);
        this.still.append(drawn);
        this.button = element("button", { type: "button", class: "live-run figure-start", onclick: () => this.start() }, said.start);
        this.again = element("button", { type: "button", class: "figure-again", onclick: () => this.fill() }, said.again);
        this.again.hidden = true;
        this.status = element("span", { class: "live-status", role: "status" });
        const bar = element("div", { class: "live-bar", role: "group", "aria-label": said.figure }, this.button, this.again, this.status);
        box.append(bar);
    }

    // The buttons keep the focus while they wait: one that is disabled would lose it.

    set waiting(waits) {
        for (const one of [this.still, this.button]) {
            if (waits) one.setAttribute("aria-disabled", "true");
            else one.removeAttribute("aria-disabled");
        }
        this.waits = waits;
    }

    async start() {
        if (this.waits) return;
        this.waiting = true;
        const megabytes = (bytes) => (bytes / 1e6).toFixed(1);
        this.status.textContent = session.state === "ready" ? texts.running : texts.starting;
        try {
            await session.start(({ stage, loaded, total }) => {
                this.status.textContent =
                    stage === "load" ? texts.loading(megabytes(loaded), megabytes(total)) : texts.starting;
            });
            this.status.textContent = texts.running;
            this.module = await import(`./${this.name}.js`);
            await this.fill();
        } catch (error) {
            this.fail(error);
        }
        this.waiting = false;
    }

    // What was there, the picture or the figure before, stays until the new one shows its numbers.

    async fill() {
        const body = element("div", { class: `figure-body figure-${this.name}`, role: "group", tabindex: -1 });
        body.setAttribute("aria-label", this.image.alt || said.figure);
        const coming = element("div", { class: "figure-coming" }, body);
        let broken = null;
        const worked = () => body === this.body && (this.status.textContent = "");
        const call = caller(this.name, (error) => this.fail((broken = error)), worked);
        if (this.body) this.body.inert = true;
        this.box.querySelector(".figure-coming")?.remove();
        this.picture.after(coming);
        try {
            await this.module.default(body, this.module.words[language], call);
        } catch (error) {
            this.fail((broken = error));
        }
        if (!coming.isConnected) return; // a later wish has taken its place
        if (broken) return this.keep(coming);
        this.status.textContent = "";
        const hadFocus = this.box.contains(document.activeElement);
        this.body?.remove();
        coming.replaceWith((this.body = body));
        this.picture.hidden = this.button.hidden = true;
        this.again.hidden = false;
        this.box.dataset.started = "";
        if (hadFocus) body.focus({ preventScroll: true });
    }

    keep(coming) {
        coming.remove();
        if (this.body) this.body.inert = false;
    }

    fail(error) {
        const text = ENDED.includes(error.kind) ? said.ended : texts[error.kind];
        this.status.textContent = error.kind === "python" ? `${error.type}: ${error.message}` : text ?? error.message;
    }
}

document.querySelectorAll(".live-figure").forEach((box) => new Figure(box));
document.documentElement.classList.add("figures-ready");
