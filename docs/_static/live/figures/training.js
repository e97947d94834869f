// A small residual network learns six shapes: its loss, its test accuracy, its mistakes and its gradients, live.

import { session } from "../session.js";
import { Columns, Matrix, Plot, button, choice, element, shown, slider } from "./shared.js";

export const words = {
    en: {
        network: "network", residual: "residual", plain: "plain", lr: "highest learning rate",
        train: "Train", pause: "Stop", more: "Go on", anew: "A new network",
        loss: "loss, cut off above 2", iteration: "step",
        lines: { losses: "of each step's batch", tests: "of the test images", own: "of the test images, by their own statistics" },
        why: "In the test, batch norm uses running statistics, a mean over the last steps. While the weights change fast, "
            + "these are those of a network that is no more, and the loss jumps; with the statistics of the test images "
            + "themselves (dotted) the same weights are good all the time. When the learning rate falls, the two meet.",
        lost: "Python was ended, and the network with it: train a new one.",
        images: "Some of the test images, in the order of the classes:",
        confusion: "Confusion matrix: rows are what it is, columns what the network says",
        gradients: "Root mean square of each layer's gradient, times 1000, first layer on the left",
        ready: "Nothing is learned yet: the classes are guessed.",
        said: (step, steps, loss, accuracy, own) => `Step ${step} of ${steps}: test loss ${loss}, right on ${accuracy}% of the test images; `
            + `with their own statistics on ${own}%`,
        classes: { disc: "disc", ring: "ring", square: "square", triangle: "triangle", cross: "cross", bar: "bar" },
    },
    zh: {
        network: "网络", residual: "残差", plain: "普通", lr: "最高学习率",
        train: "训练", pause: "停止", more: "继续", anew: "换一个新网络",
        loss: "损失（超过 2 的部分截去）", iteration: "步",
        lines: { losses: "每一步的批次", tests: "测试图像", own: "测试图像，用它们自己的统计量" },
        why: "测试时，批归一化用的是滑动统计量，即最近若干步的平均。权重变化很快时，它们属于一个已经不存在的网络，损失就会跳动；"
            + "改用测试图像自己的统计量（点线），同样的权重始终是好的。学习率降下来之后，两条线重合。",
        lost: "Python 已终止，网络也随之丢失：请训练一个新网络。",
        images: "测试图像中的几张，按类别的顺序：",
        confusion: "混淆矩阵：行是实际类别，列是网络的回答",
        gradients: "每层梯度的均方根，乘以 1000，最左边是第一层",
        ready: "还什么都没有学到：类别是猜的。",
        said: (step, steps, loss, accuracy, own) => `第 ${step} / ${steps} 步：测试损失 ${loss}，测试准确率 ${accuracy}%；`
            + `用测试图像自己的统计量时为 ${own}%`,
        classes: { disc: "圆盘", ring: "圆环", square: "方块", triangle: "三角", cross: "十字", bar: "长条" },
    },
};

const LINES = { losses: "two", tests: "one", own: "three" };
const EVERY = 20; // steps from one look at the test images to the next
const AT_ONCE = 2; // steps of one question, after which one can stop

export default async function (body, words, call) {
    const at = { shortcut: "A", lr: 0.1, step: 0, running: false, looping: false, beginning: 0, lost: false };
    const losses = [];
    const tests = [];
    const own = [];
    let set = null;

    const network = choice({
        label: words.network, options: [["A", words.residual], ["none", words.plain]], value: "A",
        onchange: (key) => ((at.shortcut = key), begin()),
    });
    const lr = slider({
        label: words.lr, min: 0.02, max: 0.4, step: 0.02, value: at.lr, onchange: (n) => ((at.lr = n), begin()),
    });
    const train = button(words.train, () => (at.running ? stop() : run()));
    const anew = button(words.anew, () => ((at.seed = (at.seed ?? 0) + 1), begin()));
    train.classList.add("figure-train");
    const plot = new Plot({ label: words.loss, x: [0, 240], y: [0, 2], high: 150, yname: words.loss, xname: words.iteration });
    const said = element("p", { class: "figure-said", "aria-live": "polite", "data-name": "accuracy" });
    const pictures = element("div", { class: "figure-row" });
    const confusion = new Matrix({ name: "confusion", label: words.confusion, wide: 40, high: 24, digits: 0 });
    const gradients = new Columns({ name: "gradients", label: words.gradients, wide: 32, high: 130, lowest: 0, colours: ["three"], digits: 1 });
    const key = element("p", { class: "figure-how" }, ...Object.entries(LINES).flatMap(([name, colour]) => [
        element("span", { class: `figure-key ${colour}` }), `${words.lines[name]} \u2003`]));
    const titled = (text, ...nodes) => element("div", {}, element("p", { class: "figure-how" }, text), ...nodes);
    for (const { node } of [confusion, gradients]) node.firstElementChild.remove(); // their titles say more

    body.append(
        element("div", { class: "figure-controls" }, network.node, lr.node),
        element("div", { class: "figure-controls" }, train, anew), said, plot.node, key,
        element("div", { class: "figure-row top figure-halves" }, titled(words.confusion, confusion.node), titled(words.gradients, gradients.node)),
        titled(words.images, pictures), element("p", { class: "figure-how" }, words.why),
    );

    async function begin() {
        at.running = false;
        at.beginning++;
        const found = await call("begin", at.shortcut, at.lr, at.seed ?? 0);
        at.beginning--;
        if (!found) return;
        set = found;
        Object.assign(at, { step: 0, lost: false });
        for (const line of [losses, tests, own]) line.length = 0;
        const names = set.classes.map((name) => words.classes[name]);
        confusion.names = names;
        pictures.replaceChildren(...set.images.map((image, place) => picture(image, names[place % names.length])));
        plot.x = [0, set.steps];
        plot.draw([]);
        rest();
        gradients.draw(set.layers.map(() => 0));
        await look();
        said.textContent = words.ready;
    }

    // Steps until the end or "Stop", which is heard between two questions: no step that was taken is lost.

    async function run() {
        at.running = true;
        train.textContent = words.pause;
        if (at.looping) return; // its last question was on its way when one stopped: it goes on
        at.looping = true;
        said.setAttribute("aria-live", "off");
        while (at.running && at.step < set.steps && body.isConnected && !body.inert) {
            if (!(await advance())) break;
        }
        said.setAttribute("aria-live", "polite");
        at.looping = at.running = false;
        if (!at.lost) rest();
    }

    function stop() {
        at.running = false;
        train.textContent = words.more;
    }

    async function advance() {
        const run = set.run;
        const found = await call("steps", run, AT_ONCE);
        if (!found || run !== set.run) return false;
        if (found.lost) return lose();
        losses.push(...found.losses);
        at.step += found.losses.length;
        gradients.draw(found.gradients.map((size) => 1000 * size));
        draw();
        if ((at.step % EVERY === 0 || !at.running) && !at.beginning) await look();
        return true;
    }

    function rest() {
        train.textContent = at.step ? words.more : words.train;
        train.disabled = at.step >= set.steps;
    }

    function lose() {
        Object.assign(at, { running: false, lost: true });
        train.textContent = words.more;
        train.disabled = true;
        said.textContent = words.lost;
        return false;
    }

    async function look() {
        const found = await call("test", set.run);
        if (!found || found.lost) return;
        tests.push([at.step, found.loss]);
        own.push([at.step, found.own.loss]);
        const percent = (share) => shown(100 * share, 0);
        said.dataset.value = found.accuracy;
        said.textContent = words.said(at.step, set.steps, shown(found.loss), percent(found.accuracy), percent(found.own.accuracy));
        confusion.draw(found.confusion, (r, c) => (r === c ? "seen" : found.confusion[r][c] ? "given" : "faint"));
        draw();
    }

    function draw() {
        plot.draw([
            { name: "losses", kind: "two thin", points: losses.map((loss, step) => [step + 1, loss]) },
            { name: "tests", kind: "one", points: tests },
            { name: "own", kind: "three", points: own },
        ]);
    }

    session.addEventListener("lost", function gone() {
        if (body.isConnected) lose();
        else session.removeEventListener("lost", gone);
    });
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
