// An editor of Python: what the pages use of CodeMirror, as one function.

import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { python } from "@codemirror/lang-python";
import { bracketMatching, HighlightStyle, indentOnInput, indentUnit, syntaxHighlighting } from "@codemirror/language";
import { EditorState } from "@codemirror/state";
import { drawSelection, EditorView, highlightSpecialChars, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";

// The colours are the page's, by its style sheet, so that they follow it from light to dark.
const colours = HighlightStyle.define([
    { tag: [tags.keyword, tags.operatorKeyword, tags.controlKeyword, tags.definitionKeyword, tags.moduleKeyword],
        color: "var(--live-keyword)" },
    { tag: [tags.bool, tags.null, tags.number], color: "var(--live-number)" },
    { tag: [tags.string, tags.special(tags.string)], color: "var(--live-string)" },
    { tag: tags.comment, color: "var(--live-comment)" },
    { tag: [tags.function(tags.definition(tags.variableName)), tags.definition(tags.className)],
        color: "var(--live-name)" },
]);

const theme = EditorView.theme({
    "&": { backgroundColor: "var(--color-code-background)", color: "var(--color-code-foreground)" },
    ".cm-scroller": { fontFamily: "var(--font-stack--monospace)", fontSize: "var(--code-font-size)", lineHeight: "1.5" },
    ".cm-content": { caretColor: "var(--color-code-foreground)" },
    ".cm-gutters": { backgroundColor: "var(--color-code-background)", color: "var(--color-foreground-secondary)", border: "none" },
    ".cm-lineNumbers .cm-gutterElement": { minWidth: "1.6em", padding: "0 0.35em 0 0.25em" },
    ".cm-cursor": { borderLeftColor: "var(--color-code-foreground)" },
    "&.cm-focused": { outline: "2px solid var(--color-brand-content)" },
});

// label: its name for screen readers. onChange() after each change, onRun() at Ctrl-Enter or Shift-Enter.
// Tab indents; Escape, then Tab, goes on to what follows the editor.
export function editor({ parent, text, label, onChange = () => {}, onRun = () => {} }) {
    const run = () => (onRun(), true);
    const extensions = [
        keymap.of([{ key: "Mod-Enter", run }, { key: "Shift-Enter", run }]),
        lineNumbers(), // tracebacks name lines
        highlightSpecialChars(),
        history(),
        drawSelection(),
        indentOnInput(),
        bracketMatching(),
        indentUnit.of("    "),
        python(),
        syntaxHighlighting(colours),
        theme,
        keymap.of([...defaultKeymap, ...historyKeymap, indentWithTab]),
        EditorView.contentAttributes.of({ "aria-label": label }),
        EditorView.updateListener.of((update) => update.docChanged && onChange()),
    ];
    const view = new EditorView({ parent, state: EditorState.create({ doc: text, extensions }) });
    // The page's own keys, as "/" for the search, are not for whoever writes here.
    view.dom.addEventListener("keydown", (event) => event.stopPropagation());
    return {
        get text() {
            return view.state.doc.toString();
        },
        set text(text) {
            view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text } });
        },
        focus: () => view.focus(),
        close: () => view.destroy(),
    };
}
