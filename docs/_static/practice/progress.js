// How far the reader is, kept in the browser: one entry an exercise, so that two tabs lose nothing of each other's.
//
// The records, and the file that is exported, are those of minires/exercises/progress.py, and so are the rules:
// {text, tries, passed, passed_text, gave_up}. One more is kept here: before, the text that was put aside last, by
// "Begin again", by another tab or by a file's.

const PREFIX = "minires.exercises/";
const FORMAT = "minires exercises";
const NEW = { text: null, tries: 0, passed: null, passed_text: null, gave_up: null };
const KINDS = { text: "string", tries: "number", passed: "string", passed_text: "string", gave_up: "string" };

const now = () => `${new Date().toISOString().slice(0, 19)}Z`;

export function read(name) {
    try {
        return { ...NEW, ...JSON.parse(localStorage.getItem(PREFIX + name)) };
    } catch {
        return { ...NEW };
    }
}

// -> could it be kept?
export function write(name, record) {
    try {
        localStorage.setItem(PREFIX + name, JSON.stringify(record));
        return true;
    } catch {
        return false;
    }
}

export function erase(name) {
    localStorage.removeItem(PREFIX + name);
}

export function checked(record, text, state) {
    return {
        text,
        tries: record.tries + (state !== "unwritten"),
        ...(state === "passed" ? { passed: record.passed ?? now(), passed_text: text } : {}),
    };
}

export function gaveUp(record) {
    return record.passed ? {} : { gave_up: record.gave_up ?? now() };
}

export function state(record) {
    if (record.text !== null && record.text === record.passed_text) return "done";
    if (record.gave_up && !record.passed) return "gaveUp";
    return record.text === null ? "none" : "started";
}

// Calls heard(name) when another tab has changed an exercise.
export function watch(heard) {
    addEventListener("storage", ({ key }) => {
        if (key?.startsWith(PREFIX)) heard(key.slice(PREFIX.length));
    });
}

export function exported(names) {
    const kept = names.map((name) => [name, read(name)]).filter(([, record]) => state(record) !== "none");
    return `${JSON.stringify({ [FORMAT]: 1, exercises: Object.fromEntries(kept) }, null, 1)}\n`;
}

// Takes over a file's records of these exercises; a text that is here stays, and the file's is put aside as `before`.
// -> how many texts were taken. Throws where the file is something else, before anything is changed.
export function imported(text, starts) {
    const file = JSON.parse(text.replace(/^\ufeff/, ""));
    if (file?.[FORMAT] !== 1) throw new Error("another format");
    const records = Object.entries(file.exercises).filter(([name]) => name in starts);
    for (const [, record] of records) {
        for (const [key, kind] of Object.entries(KINDS)) {
            if (typeof (record[key] ?? NEW[key] ?? "") !== kind) throw new Error(`${key} of another kind`);
        }
    }
    return records.filter(([name, record]) => take(name, { ...NEW, ...record }, starts[name])).length;
}

function take(name, theirs, start) {
    const ours = read(name);
    const free = ours.text === null || ours.text === start;
    const both = (key) => [ours[key], theirs[key]].filter(Boolean).sort()[0] ?? null;
    const merged = {
        ...ours,
        text: free ? theirs.text ?? ours.text : ours.text,
        tries: Math.max(ours.tries, theirs.tries),
        passed: both("passed"),
        gave_up: both("gave_up"),
        passed_text: ours.passed_text ?? theirs.passed_text,
    };
    if (merged.text !== null && merged.text === theirs.passed_text) merged.passed_text = theirs.passed_text;
    if (!free && theirs.text !== null && theirs.text !== ours.text) merged.before = theirs.text;
    else if (theirs.before !== undefined) merged.before ??= theirs.before;
    write(name, merged);
    return merged.text !== ours.text;
}
