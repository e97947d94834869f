// What is in this weights file? It is read in the page, which sends nothing anywhere.

import { session } from "../session.js";
import { button, element } from "./shared.js";

export const words = {
    en: {
        language: "en",
        label: "What is in the file", choose: "Choose a weights file", drop: "or drop it here: PyTorch's .pth, .pt or .th, .safetensors, .npz",
        private: "The file stays on this machine: the page reads it and makes no request.",
        example: "Take an example", reading: (name) => `Reading ${name}`,
        large: (name) => `${name} has more than 1 GB: python examples/convert_weights.py FILE - says what is in it`,
        hdf5: (name) => `${name} is HDF5, which cannot be read in a browser: python examples/convert_weights.py FILE - reads it`,
        result: (name) => `In ${name}:`, failed: (name) => `${name} cannot be read:`,
    },
    zh: {
        language: "zh",
        label: "文件的内容", choose: "选择权重文件", drop: "或把文件拖到这里：PyTorch 的 .pth、.pt、.th，或者 .safetensors、.npz",
        private: "文件不会离开这台机器：由页面读取，页面不发出任何请求。",
        example: "用一个示例", reading: (name) => `正在读取 ${name}`,
        large: (name) => `${name} 超过 1 GB：python examples/convert_weights.py FILE - 会说出其中有什么`,
        hdf5: (name) => `${name} 是 HDF5 文件，浏览器中无法读取：python examples/convert_weights.py FILE - 可以读取`,
        result: (name) => `${name} 中有：`, failed: (name) => `无法读取 ${name}，minires 的说明（英文）：`,
    },
};

const MOST = 1e9; // bytes

export const safe = (name) => name.replace(/[^\w.-]/g, "_").replace(/^[.-]+/, "") || "weights";

export function fileDrop(words, onfile) {
    const input = element("input", { type: "file", class: "figure-file" });
    const choose = element("label", { class: "figure-choose" }, words.choose, input);
    const box = element("div", { class: "figure-drop" }, choose, element("span", { class: "figure-how" }, words.drop));
    input.addEventListener("change", () => input.files[0] && onfile(input.files[0]));
    for (const kind of ["dragenter", "dragover"]) box.addEventListener(kind, (event) => (event.preventDefault(), box.classList.add("figure-over")));
    box.addEventListener("dragleave", () => box.classList.remove("figure-over"));
    box.addEventListener("drop", (event) => {
        event.preventDefault();
        box.classList.remove("figure-over");
        if (event.dataTransfer.files[0]) onfile(event.dataTransfer.files[0]);
    });
    return box;
}

export default async function (body, words, call) {
    const title = element("p", { class: "figure-title", "aria-live": "polite" });
    const result = element("pre", { class: "figure-result", tabindex: 0, role: "region", "aria-label": words.label });
    result.hidden = true;
    const drop = fileDrop(words, read);
    drop.append(button(words.example, async () => show((await call("example"))?.name)));
    body.append(drop, element("p", { class: "figure-how" }, words.private), title, result);

    async function read(file) {
        const name = safe(file.name);
        result.hidden = true;
        if (file.size > MOST) return (title.textContent = words.large(file.name));
        if (/\.(h5|hdf5|keras)$/i.test(name)) return (title.textContent = words.hdf5(file.name));
        title.textContent = words.reading(file.name);
        await session.put(name, await file.arrayBuffer());
        await show(name, file.name);
    }

    async function show(path, name = path) {
        if (!path) return;
        const found = await call("identify", path, words.language);
        if (!found) return;
        title.textContent = (found.error ? words.failed : words.result)(name);
        result.hidden = false;
        result.dataset.kind = found.error ? "error" : "text";
        result.lang = found.error ? "en" : words.language === "zh" ? "zh-CN" : "en";
        result.textContent = found.text ?? found.error;
    }
}
