// Saliency and Grad-CAM of the visitor's own picture, which stays on the machine.

import { session } from "../session.js";
import { button, element, shown } from "./shared.js";
import { fileDrop, safe } from "./weights_file.js";

export const words = {
    en: {
        choose: "Choose a picture, or weights", drop: "or drop them here: the network of a weights file then looks at the picture",
        private: "Picture and weights stay on this machine: the page reads them and sends nothing.",
        example: "Take a drawn shape", reading: (name) => `Looking at ${name}`,
        pixels: "what the network sees", saliency: "saliency", grad_cam: "Grad-CAM",
        stop: ". ", colon: ": ", network: "Network: ", best: "The likeliest classes; choose the one to explain:",
        shapes: "It has seen nothing but ten drawn shapes. Of a photograph it says which shape it takes it for, and the "
            + "maps show what it took for that: no judgement of the photograph. For one, drop weights that know photographs.",
        other: "It knows the classes that it was trained on and nothing else: any picture becomes one of them.",
        explained: (name, p) => `Explained is ${name}, p = ${p}`, language: "en",
        cut: ([wide, high]) => `The picture has ${wide} by ${high} pixels: the network sees the square in its middle`,
        names: {
            disc: "disc", ring: "ring", square: "square", frame: "frame", triangle: "triangle", star: "star", cross: "cross",
            bar: "bar", crescent: "crescent", dots: "dots",
        },
        source: (drawn, right, others) => `Trained on ${drawn} drawn shapes, light on dark, right on ${right} of ${others} others`,
    },
    zh: {
        choose: "选择图片或权重文件", drop: "或拖到这里：权重文件中的网络会来看这张图片",
        private: "图片和权重都不会离开这台机器：由页面读取，什么也不发送。",
        example: "用一个画出的图形", reading: (name) => `正在看 ${name}`,
        pixels: "网络看到的", saliency: "显著图", grad_cam: "Grad-CAM",
        stop: "。", colon: "：", network: "网络：", best: "最可能的类别；选择要解释的类别：",
        shapes: "它只见过十种由代码画出的图形。对一张照片，它说的是把照片当成了哪种图形，这些图显示它把什么当成了那种图形："
            + "这不是对照片的判断。要判断照片，请拖入认识照片的权重。",
        other: "它只认识训练时的那些类别：任何图片都会被归入其中之一。",
        explained: (name, p) => `解释的是“${name}”，p = ${p}`, language: "zh",
        cut: ([wide, high]) => `图片宽 ${wide} 像素，高 ${high} 像素：网络看到的是中间的正方形部分`,
        names: {
            disc: "圆盘", ring: "圆环", square: "正方形", frame: "方框", triangle: "三角形", star: "五角星", cross: "十字",
            bar: "长条", crescent: "月牙", dots: "圆点",
        },
        source: (drawn, right, others) => `用 ${drawn} 个画出的图形（深色背景上的浅色图形）训练，在另外 ${others} 个上答对 ${right}`,
    },
};

const OURS = /^trained on ([\d,]+) drawn shapes, light on dark, right on ([\d.]+%) of ([\d,]+) others$/;
const PICTURE = /^image\//;

export default async function (body, words, call) {
    let picture = null; // the file's name in Python, and its bytes; none for the drawn shape
    let held = null; // the weights likewise
    let ours = false;
    const network = element("p", { class: "figure-how" });
    const about = element("p", { class: "figure-how" });
    const title = element("p", { class: "figure-title", "aria-live": "polite" });
    const pictures = element("div", { class: "figure-row top" });
    const best = element("div", { class: "figure-controls", role: "group", "aria-label": words.best });
    const drop = fileDrop(words, (file) => (PICTURE.test(file.type) ? see(file) : take(file)));
    drop.append(button(words.example, example));
    body.append(drop, element("p", { class: "figure-how" }, words.private), network, about, title, pictures, best);

    async function siteWeights() {
        const address = new URL("weights.safetensors", import.meta.url);
        const response = await fetch(address);
        if (!response.ok) throw new Error(`${address}: ${response.status}`);
        await use({ name: "site.safetensors", bytes: await response.arrayBuffer() });
    }

    async function take(file) {
        title.textContent = words.reading(file.name);
        if (await use({ name: safe(file.name), bytes: await file.arrayBuffer() }) && picture) await explain(picture);
    }

    async function use(file) {
        await session.put(file.name, file.bytes);
        const found = await call("weights", file.name, words.language);
        if (!found) return false;
        title.textContent = found.error ?? "";
        if (found.error) return false;
        held = file;
        ours = found.ours;
        const model = found.text.split("\n")[0].replace(/^\S+\s+/, "");
        const of = OURS.exec(found.source);
        network.textContent = `${words.network}${model}${words.stop}${of ? words.source(...of.slice(1)) : found.source}${words.stop}`;
        about.textContent = ours ? words.shapes : words.other;
        return true;
    }

    async function see(file) {
        title.textContent = words.reading(file.name);
        await explain({ name: `picture-${safe(file.name)}`, bytes: await file.arrayBuffer() });
    }

    const called = (name) => (ours && words.names[name]) || name;

    async function example() {
        const name = await call("example");
        if (name) await explain({ name });
    }

    // Where Python was ended since, it is given the weights and the picture once more.

    async function explain(given, label = null) {
        if (given.bytes) await session.put(given.name, given.bytes);
        let found = await call("explained", given.name, label);
        if (found?.lost && (await use(held))) {
            if (!given.bytes) await call("example");
            found = await call("explained", given.name, label);
        }
        if (found) show(given, found);
    }

    function show(given, found) {
        title.textContent = found.error ?? "";
        if (found.error) return;
        picture = given;
        pictures.replaceChildren(...Object.entries(found.pictures).map(([kind, src]) => element(
            "figure", { class: "figure-map" },
            element("img", { src, alt: `${words[kind]}${words.colon}${called(found.explained.name)}` }), element("figcaption", {}, words[kind]),
        )));
        best.replaceChildren(element("span", {}, words.best), ...found.likeliest.map(({ label, name: named, p }) => {
            const pressed = button(`${called(named)} ${shown(100 * p, 1)}%`, () => explain(given, label));
            pressed.setAttribute("aria-pressed", label === found.explained.label);
            pressed.dataset.label = label;
            pressed.dataset.value = p;
            return pressed;
        }));
        const p = found.likeliest.find(({ label }) => label === found.explained.label)?.p;
        title.textContent = words.explained(called(found.explained.name), p === undefined ? "?" : shown(p, 4))
            + (found.cut ? words.stop + words.cut(found.cut) + words.stop.trim() : "");
    }

    await siteWeights();
    await example();
}
