// Makes a page's pictures in docs/images/figures alive at the first click, until which nothing is loaded. NAME.js has
//
//     export const words = { en: {...}, zh: {...} };
//     export default async function (body, words, call) { ... }     fills the body; call(function, ...arguments)
//
// where call is the newest wish's answer from NAME.py: `await call("numbers", x)`, null where a later call replaced it.

import { session } from "../session.js";
import { TEXTS, texts } from "../texts.js";
import { element } from "./parts.js";

const WORDS = {
    en: { start: "Start this figure", again: "As at the start", figure: "Figure to try" },
    zh: { start: "启动这幅图", again: "恢复初始状态", figure: "可以操作的图" },
};
const language = texts === TEXTS.zh ? "zh" : "en";
const said = WORDS[language];

// One question at a time; of those that wait only the newest is asked.

function caller(name, failed) {
    let asking = Promise.resolve();
    let newest = 0;
    return (what, ...given) => {
        const mine = ++newest;
        const answer = asking.then(async () => {
            if (mine !== newest) return null;
            try {
                return await session.call(`live.figures.${name}:${what}`, given);
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
        this.button = element("button", { type: "button", class: "live-run figure-start", onclick: () => this.start() }, said.start);
        this.again = element("button", { type: "button", class: "figure-again", onclick: () => this.fill() }, said.again);
        this.again.hidden = true;
        this.status = element("span", { class: "live-status", role: "status" });
        box.append(element("div", { class: "live-bar", role: "group" }, this.button, this.again, this.status));
        box.lastElementChild.setAttribute("aria-label", said.figure);
    }

    async start() {
        this.button.disabled = true;
        const megabytes = (bytes) => (bytes / 1e6).toFixed(1);
        this.status.textContent = session.state === "ready" ? texts.running : texts.starting;
        try {
            await session.start(({ stage, loaded, total }) => {
                this.status.textContent =
                    stage === "load" ? texts.loading(megabytes(loaded), megabytes(total)) : texts.starting;
            });
            this.module = await import(`./${this.name}.js`);
            await this.fill();
        } catch (error) {
            this.fail(error);
        }
        this.button.disabled = false;
    }

    async fill() {
        const body = element("div", { class: `figure-body figure-${this.name}`, role: "group", tabindex: -1 });
        body.setAttribute("aria-label", this.picture.querySelector("img")?.alt ?? said.figure);
        this.status.textContent = "";
        let broken = null;
        const call = caller(this.name, (error) => this.fail((broken = error)));
        const hadFocus = this.box.contains(document.activeElement);
        const before = this.body;
        this.body = body;
        if (before) before.replaceWith(body);
        else this.picture.after(body);
        await this.module.default(body, this.module.words[language], call);
        if (broken) return body.remove(), (this.body = null);
        this.picture.hidden = this.button.hidden = true;
        this.again.hidden = false;
        this.box.dataset.started = "";
        if (hadFocus) body.focus({ preventScroll: true });
    }

    fail(error) {
        this.status.textContent = error.kind === "python" ? `${error.type}: ${error.message}` : texts[error.kind] ?? error.message;
    }
}

document.querySelectorAll(".live-figure").forEach((box) => new Figure(box));
document.documentElement.classList.add("figures-ready");
