// Learning-rate schedules over a thousand iterations.

import { Plot, codeTerms, element, link, nice, slider } from "./shared.js";

export const words = {
    en: {
        kind: "schedule", lr: "lr", warmup: "warm-up", iteration: "iteration", at: "learning rate",
        label: "The learning rate over a thousand iterations",
        length: {
            StepLR: "step_size", MultiStepLR: "first milestone", CosineAnnealingLR: "total_steps",
            CosineAnnealingWarmRestarts: "first_steps", OneCycleLR: "peak (pct_start · 1000)",
        },
    },
    zh: {
        kind: "学习率调度", lr: "lr", warmup: "预热", iteration: "迭代", at: "学习率",
        label: "一千次迭代中的学习率",
        length: {
            StepLR: "step_size", MultiStepLR: "第一个里程碑", CosineAnnealingLR: "total_steps",
            CosineAnnealingWarmRestarts: "first_steps", OneCycleLR: "峰值（pct_start · 1000）",
        },
    },
};

const KINDS = ["CosineAnnealingLR", "StepLR", "MultiStepLR", "CosineAnnealingWarmRestarts", "OneCycleLR", "ConstantLR"];
// The argument of the code that each slider sets.
const ARGUMENT = {
    StepLR: "step_size", MultiStepLR: "milestones", CosineAnnealingLR: "total_steps", CosineAnnealingWarmRestarts: "first_steps",
    OneCycleLR: "pct_start",
};
const LENGTH = { CosineAnnealingLR: 1000, StepLR: 300, MultiStepLR: 500, CosineAnnealingWarmRestarts: 140, OneCycleLR: 300 };

export default async function (body, words, call) {
    const at = { kind: KINDS[0], lr: 0.1, length: 1000, warmup: 100, iteration: 0 };
    let now = null;

    const select = element("select", {}, ...KINDS.map((kind) => element("option", {}, kind)));
    select.addEventListener("change", () => {
        at.kind = select.value;
        length.node.hidden = !(at.kind in LENGTH);
        if (at.kind in LENGTH) {
            length.node.firstElementChild.textContent = words.length[at.kind];
            at.length = length.value = LENGTH[at.kind];
        }
        compute();
    });
    const changed = (name) => (n) => ((at[name] = n), compute());
    const lr = slider({ label: words.lr, min: 0.01, max: 0.5, step: 0.01, value: 0.1, onchange: changed("lr") });
    const length = slider({
        label: words.length[at.kind], min: 20, max: 1000, step: 20, value: 1000, onchange: changed("length"),
    });
    const warmup = slider({ label: words.warmup, min: 0, max: 400, step: 20, value: 100, onchange: changed("warmup") });
    const place = slider({ label: words.iteration, min: 0, max: 1000, value: 0, onchange: (n) => read(n) });
    const plot = new Plot({
        label: words.label, x: [0, 1000], y: [0, 0.1], onmark: (x) => read(Math.round(x)),
        xname: words.iteration, yname: words.at,
    });
    const code = element("code");
    const light = link(body);
    lr.node.dataset.term = "lr", length.node.dataset.term = "length", warmup.node.dataset.term = "warmup";
    const said = element("p", { class: "figure-said", "aria-live": "polite", "data-name": "rate" });

    body.append(
        element("div", { class: "figure-controls" },
            element("label", { class: "figure-slider" }, element("span", {}, words.kind), select),
            lr.node, length.node, warmup.node),
        element("p", { class: "figure-said" }, code),
        plot.node,
        element("div", { class: "figure-controls" }, place.node), said,
    );

    async function compute() {
        const found = await call("numbers", at.kind, at.lr, at.length, at.warmup);
        if (!found) return;
        now = found;
        code.replaceChildren(...codeTerms(now.code, argumentsIn(now.code)));
        light();
        plot.y = [0, nice(Math.max(...now.rates))];
        plot.draw([{ name: "rate", kind: "one", points: now.rates.map((rate, iteration) => [iteration, rate]) }]);
        read(at.iteration);
    }

    // The arguments that the sliders set, in the order of the code.

    function argumentsIn(code) {
        const names = { lr: "(?:max_)?lr", length: ARGUMENT[at.kind], warmup: at.warmup ? "steps" : null };
        return Object.entries(names).flatMap(([term, name]) => {
            const found = name && code.match(new RegExp(`(?<!\\w)${name}=(\\(.*?\\)|[^,)]+)`));
            return found ? [[found[0], term, "one", found.index]] : [];
        }).sort((one, other) => one[3] - other[3]);
    }

    function read(iteration) {
        at.iteration = place.value = iteration;
        plot.mark(iteration);
        said.dataset.value = now.rates[iteration];
        said.textContent = `${words.at}(${iteration}) = ${Number(now.rates[iteration].toPrecision(4))}`;
    }

    await compute();
}
