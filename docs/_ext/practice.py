"""The page of exercises: ```{practice}``` becomes all of minires.exercises, which docs/_static/practice makes alive.

Each is a <details class="exercise" id="exercise-NAME">, with its text, links to its derivation and to the exercises
that it needs, and the code to begin with: that much can be read without a script.
"""

import html
import re
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.util.docutils import SphinxDirective

from minires.exercises import exercises
from minires.exercises import interface as described

WORDS = {
    "en": {"derivation": ("Derivation: ", "."), "needs": (" After ", ", ", ".")},
    "zh": {"derivation": ("推导\uff1a", "。"), "needs": ("先做 ", "、", "。")},
}
CODE = re.compile(r"`([^`]+)`")


class exercise(nodes.container):
    pass


def open_exercise(translator, node):
    data = "".join(f' data-{name}="{html.escape(str(value))}"' for name, value in node["data"].items())
    name, title = node["data"]["name"], html.escape(node["title"])
    translator.body.append(
        f'<details class="exercise" id="exercise-{name}"{data}>\n<summary><span class="exercise-place">{node["place"]}'
        f'</span> <code>{name}</code> <span class="exercise-title">{title}</span></summary>\n'
    )


def close_exercise(translator, node):
    translator.body.append("</details>\n")


class Practice(SphinxDirective):
    def run(self):
        for file in Path(described.__file__).parent.rglob("*"):
            if file.suffix in (".py", ".po"):
                self.env.note_dependency(str(file))
        language = "zh" if self.env.docname.startswith("zh/") else "en"
        return [self.shown(each, WORDS[language]) for each in exercises(language)]

    def shown(self, each, words):
        node = exercise(
            data={"name": each["name"], "kind": each["kind"], "needs": " ".join(each["needs"])},
            title=each["title"],
            place=each["place"],
        )
        node += [nodes.paragraph("", "", *with_code(said)) for said in (each["text"], each["how"]) if said]
        node += nodes.paragraph("", "", *self.derivation(each, *words["derivation"]), *needed(each, *words["needs"]))
        node[-1]["classes"] = ["exercise-derivation"]
        # python3: "python" are the blocks that the page's own file has (blocks.py)
        node += nodes.literal_block(each["code"], each["code"], language="python3")
        return node

    def derivation(self, each, before, behind):
        """The link to the page with the derivation, named by its title."""
        page = addnodes.pending_xref(
            "",
            nodes.inline("", each["page"]),
            refdomain="std",
            reftype="doc",
            reftarget="/" + each["page"].removesuffix(".md"),
            refexplicit=False,
            refdoc=self.env.docname,
        )
        return [nodes.Text(before), page, nodes.Text(behind)]


def needed(each, before, between, behind):
    """Links to the exercises that are to be done before this one."""
    for number, name in enumerate(each["needs"]):
        yield nodes.Text(between if number else before)
        yield nodes.reference("", "", nodes.literal("", name), refuri=f"#exercise-{name}")
    if each["needs"]:
        yield nodes.Text(behind)


def with_code(text):
    """Text in which what stands in backquotes is code."""
    return [nodes.literal("", part) if number % 2 else nodes.Text(part) for number, part in enumerate(CODE.split(text))]


def scripts(app, page, template, context, doctree):
    """The script and styles, on the pages that have exercises and nowhere else."""
    if doctree is not None and next(doctree.findall(exercise), None):
        app.add_css_file("live/live.css")
        app.add_css_file("practice/practice.css")
        app.add_js_file("live/page.js", loading_method="defer", **{"data-module": "../practice/practice.js"})


def setup(app):
    app.add_node(exercise, html=(open_exercise, close_exercise))
    app.add_directive("practice", Practice)
    app.connect("html-page-context", scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
