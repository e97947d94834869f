// Saliency and Grad-CAM of the visitor's own picture, which stays on the machine.

import { session } from "../session.js";
import { button, element, shown } from "./shared.js";
import { fileDrop, safe } from "./weights_file.js";

export const words = {
    en: {
        choose: "Choose a picture", drop: "or drop it here; or a weights file, whose network then looks at it",
        private: "Picture and weights stay on this machine: the page reads them and sends nothing.",
        example: "Take a drawn shape", reading: (name) => `Looking at ${name}`,
        pixels: "what the network sees", saliency: "saliency", grad_cam: "Grad-CAM",
        network: "Network:", best: "The likeliest classes; choose the one to explain:",
        shapes: "It has seen nothing but ten drawn shapes. Of a photograph it says which shape it takes it for, and the "
            + "maps show what it took for that: no judgement of the photograph. For one, drop weights that know photographs.",
        other: "It knows the classes that it was trained on and nothing else: any picture becomes one of them.",
        explained: (name, p) => `Explained is ${name}, p = ${p}`,
    },
    zh: {
        choose: "选择图片", drop: "或把图片拖到这里；也可以拖入权重文件，由其中的网络来看",
        private: "图片和权重都不会离开这台机器：由页面读取，什么也不发送。",
        example: "用一个画出的形状", reading: (name) => `正在看 ${name}`,
        pixels: "网络看到的", saliency: "显著图", grad_cam: "Grad-CAM",
        network: "网络：", best: "最可能的类别；选择要解释的类别：",
        shapes: "它只见过十种画出的形状。对一张照片，它说的是把照片当成了哪种形状，这些图显示它把什么当成了那种形状："
            + "这不是对照片的判断。要判断照片，请拖入认识照片的权重。",
        other: "它只认识训练时的那些类别：任何图片都会被归入其中之一。",
        explained: (name, p) => `解释的是 ${name}，p = ${p}`,
    },
};

const PICTURE = /^image\//;

export default async function (body, words, call) {
    let picture = null;

    const network = element("p", { class: "figure-how" });
    const about = element("p", { class: "figure-how" });
    const title = element("p", { class: "figure-title", "aria-live": "polite" });
    const pictures = element("div", { class: "figure-row top" });
    const best = element("div", { class: "figure-controls", role: "group", "aria-label": words.best });
    const drop = fileDrop(words, (file) => (PICTURE.test(file.type) ? see(file) : take(file)));
    drop.append(button(words.example, async () => explain(await call("example"))));
    body.append(drop, element("p", { class: "figure-how" }, words.private), network, about, title, pictures, best);

    async function given() {
        const address = new URL("weights.safetensors", import.meta.url);
        const response = await fetch(address);
        if (!response.ok) throw new Error(`${address}: ${response.status}`);
        await session.put("site.safetensors", await response.arrayBuffer());
        use(await call("weights", "site.safetensors"));
    }

    async function take(file) {
        title.textContent = words.reading(file.name);
        await session.put(safe(file.name), await file.arrayBuffer());
        if (use(await call("weights", safe(file.name))) && picture) await explain(picture);
    }

    function use(found) {
        if (!found) return false;
        title.textContent = found.error ?? "";
        if (found.error) return false;
        network.textContent = `${words.network} ${found.text.split("\n")[0].replace(/^model +/, "")}. ${found.source}.`;
        about.textContent = found.classes.includes("crescent") ? words.shapes : words.other;
        return true;
    }

    async function see(file) {
        title.textContent = words.reading(file.name);
        const name = `picture-${safe(file.name)}`;
        await session.put(name, await file.arrayBuffer());
        await explain(name);
    }

    async function explain(name, label = null) {
        if (!name) return;
        const found = await call("explained", name, label);
        if (!found) return;
        title.textContent = found.error ?? "";
        if (found.error) return;
        picture = name;
        pictures.replaceChildren(...Object.entries(found.pictures).map(([kind, src]) => element(
            "figure", { class: "figure-map" },
            element("img", { src, alt: `${words[kind]}: ${found.explained.name}` }), element("figcaption", {}, words[kind]),
        )));
        best.replaceChildren(element("span", {}, words.best), ...found.likeliest.map(({ label, name: named, p }) => {
            const pressed = button(`${named} ${shown(100 * p, 1)}%`, () => explain(name, label));
            pressed.setAttribute("aria-pressed", label === found.explained.label);
            pressed.dataset.label = label;
            pressed.dataset.value = p;
            return pressed;
        }));
        const p = found.likeliest.find(({ label }) => label === found.explained.label)?.p;
        title.textContent = words.explained(found.explained.name, p === undefined ? "?" : shown(p, 4));
    }

    await given();
    await explain(await call("example"));
}
