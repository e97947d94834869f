// A small residual network learns six shapes: its loss, its test accuracy, its mistakes and its gradients, live.

import { Columns, Matrix, Plot, button, choice, element, shown, slider } from "./shared.js";

export const words = {
    en: {
        network: "network", residual: "residual", plain: "plain", lr: "highest learning rate",
        train: "Train", pause: "Stop", more: "Go on", anew: "A new network",
        loss: "loss of each step (thin), of the test images (thick)", iteration: "step",
        images: "Some of the test images, in the order of the classes:",
        confusion: "Confusion matrix: rows are what it is, columns what the network says",
        gradients: "Root mean square of each layer's gradient, times 1000, first layer on the left",
        ready: "Nothing is learned yet: the classes are guessed.",
        said: (step, steps, loss, accuracy) => `Step ${step} of ${steps}: loss ${loss}, right on ${accuracy}% of the test images`,
        classes: { disc: "disc", ring: "ring", square: "square", triangle: "triangle", cross: "cross", bar: "bar" },
    },
    zh: {
        network: "网络", residual: "残差", plain: "普通", lr: "最高学习率",
        train: "训练", pause: "停止", more: "继续", anew: "换一个新网络",
        loss: "每一步的损失（细线），测试图像的损失（粗线）", iteration: "步",
        images: "测试图像中的几张，按类别的顺序：",
        confusion: "混淆矩阵：行是实际类别，列是网络的回答",
        gradients: "每层梯度的均方根，乘以 1000，最左边是第一层",
        ready: "还什么都没有学到：类别是猜的。",
        said: (step, steps, loss, accuracy) => `第 ${step} / ${steps} 步：损失 ${loss}，测试图像的准确率为 ${accuracy}%`,
        classes: { disc: "圆盘", ring: "圆环", square: "方块", triangle: "三角", cross: "十字", bar: "长条" },
    },
};

const EVERY = 20; // steps from one look at the test images to the next
const AT_ONCE = 2; // steps of one question, after which one can stop

export default async function (body, words, call) {
    const at = { shortcut: "A", lr: 0.1, step: 0, running: false };
    const losses = [];
    const tests = [];
    let set = null;

    const network = choice({
        label: words.network, options: [["A", words.residual], ["none", words.plain]], value: "A",
        onchange: (key) => ((at.shortcut = key), begin()),
    });
    const lr = slider({
        label: words.lr, min: 0.02, max: 0.4, step: 0.02, value: at.lr, onchange: (n) => ((at.lr = n), begin()),
    });
    const train = button(words.train, () => (at.running ? pause() : run()));
    const anew = button(words.anew, () => ((at.seed = (at.seed ?? 0) + 1), begin()));
    train.classList.add("figure-train");
    const plot = new Plot({ label: words.loss, x: [0, 240], y: [0, 2], high: 150, room: body.clientWidth - 26, yname: words.loss, xname: words.iteration });
    const said = element("p", { class: "figure-said", "aria-live": "polite", "data-name": "accuracy" });
    const pictures = element("div", { class: "figure-row" });
    const confusion = new Matrix({ name: "confusion", label: words.confusion, wide: 36, high: 24, digits: 0 });
    const gradients = new Columns({ name: "gradients", label: words.gradients, wide: 44, high: 130, lowest: 0, colours: ["three"] });
    const named = element("div", { class: "figure-how" });
    const titled = (text, ...nodes) => element("div", {}, element("p", { class: "figure-how" }, text), ...nodes);
    confusion.node.firstElementChild.replaceChildren(named);
    gradients.node.firstElementChild.replaceChildren();

    body.append(
        element("div", { class: "figure-controls" }, network.node, lr.node),
        element("div", { class: "figure-controls" }, train, anew), said, plot.node,
        element("div", { class: "figure-row top" }, titled(words.confusion, confusion.node), titled(words.gradients, gradients.node)),
        titled(words.images, pictures),
    );

    async function begin() {
        at.running = false;
        const found = await call("begin", at.shortcut, at.lr, at.seed ?? 0);
        if (!found) return;
        set = found;
        Object.assign(at, { step: 0 });
        losses.length = tests.length = 0;
        const names = set.classes.map((name) => words.classes[name]);
        named.textContent = names.join(", ");
        pictures.replaceChildren(...set.images.map((image, place) => picture(image, names[place % names.length])));
        plot.x = [0, set.steps];
        plot.draw([]);
        train.textContent = words.train;
        train.disabled = false;
        gradients.draw(set.layers.map(() => 0));
        show(await call("test"));
        said.textContent = words.ready;
    }

    async function run() {
        at.running = true;
        train.textContent = words.pause;
        said.setAttribute("aria-live", "off");
        while (at.running && at.step < set.steps && body.isConnected) {
            const found = await call("steps", AT_ONCE);
            if (!found || !at.running) break;
            losses.push(...found.losses);
            at.step += AT_ONCE;
            gradients.draw(found.gradients.map((size) => 1000 * size));
            if (at.step % EVERY === 0) show(await call("test"));
            draw();
        }
        said.setAttribute("aria-live", "polite");
        pause();
    }

    function pause() {
        at.running = false;
        train.textContent = at.step ? words.more : words.train;
        train.disabled = at.step >= set.steps;
    }

    function show(found) {
        if (!found) return;
        tests.push([at.step, found.loss]);
        said.dataset.value = found.accuracy;
        said.textContent = words.said(at.step, set.steps, shown(found.loss), shown(100 * found.accuracy, 0));
        confusion.draw(found.confusion, (r, c) => (r === c ? "seen" : found.confusion[r][c] ? "given" : "faint"));
        draw();
    }

    function draw() {
        plot.draw([
            { name: "losses", kind: "two thin", points: losses.map((loss, step) => [step + 1, loss]) },
            { name: "tests", kind: "one", points: tests },
        ]);
    }

    await begin();
}

function picture(pixels, name) {
    const size = pixels.length;
    const canvas = element("canvas", { width: size, height: size, class: "figure-picture", role: "img", "aria-label": name });
    const data = new ImageData(size, size);
    pixels.flat().forEach((grey, place) => data.data.set([grey, grey, grey, 255], 4 * place));
    canvas.getContext("2d").putImageData(data, 0, 0);
    return canvas;
}
