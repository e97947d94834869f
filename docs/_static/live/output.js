// Is what was printed what the page says? As tests/test_docs.py compares them: but for white space, the last digits of
// numbers, and whatever stands in place of "...".

const NUMBER = /(?<![\w.])-?\d+(?:\.\d*)?(?:e[+-]?\d+)?(?!\w)/g;

// A text as a list: each number a number, every other character by itself.

function pieces(text) {
    const found = [];
    let end = 0;
    text = text.trim().replace(/\s+/g, " ");
    for (const match of text.matchAll(NUMBER)) {
        found.push(...text.slice(end, match.index), Number(match[0]));
        end = match.index + match[0].length;
    }
    return [...found, ...text.slice(end)];
}

function alike(printed, wanted) {
    const close = (a, b) => (typeof a === "number" && typeof b === "number" ? Math.abs(a - b) <= 1e-6 + 1e-3 * Math.abs(b) : a === b);
    return printed.length === wanted.length && printed.every((piece, place) => close(piece, wanted[place]));
}

export function sameText(given, page) {
    const printed = pieces(given);
    const [first, ...parts] = page.split("...").map(pieces);
    if (!parts.length) return alike(printed, first);
    if (!alike(printed.slice(0, first.length), first)) return false;
    const last = parts.pop();
    let at = first.length;
    for (const part of parts) { // each where it comes first: that leaves most to the others
        while (at <= printed.length && !alike(printed.slice(at, at + part.length), part)) at++;
        at += part.length;
    }
    return at + last.length <= printed.length && alike(printed.slice(printed.length - last.length), last);
}
