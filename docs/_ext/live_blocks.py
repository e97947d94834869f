"""Pages whose Python runs in the reader's browser: marks the blocks, and puts minires and its settings into the site.

Each Python block of a page becomes a <div class="live" data-block="3">, which docs/_static/live/blocks.js gives its
buttons; data-needs says why a block cannot run in a browser (the words are blocks.REASONS). Source shown by inclusion
says which object it is: data-object="minires.layers.batch_norm:batch_norm", and data-cut where only a part is shown.

Setting live_pyodide: a folder with Pyodide's files (docs/_ext/pyodide.json names them), which become part of the site.
Empty, they come from Pyodide's public CDN when a reader first runs something.
"""

import base64
import hashlib
import html
import io
import json
import re
import shutil
import zipfile
from pathlib import Path

from blocks import INCLUDE, REASONS, python_blocks, source_of
from docutils import nodes
from source_pages import INCLUDED
from sphinx.errors import ExtensionError
from sphinx.util import logging

import minires

ROOT = Path(__file__).resolve().parents[2]
PINNED = json.loads((Path(__file__).parent / "pyodide.json").read_text(encoding="utf-8"))

log = logging.getLogger(__name__)


# Marks in the pages ---------------------------------------------------------------------------------------------------


class live_block(nodes.container):  # other builders than HTML's show what is in it
    pass


class live_expected(nodes.container):
    pass


def open_block(translator, node):
    data = "".join(f' data-{name}="{html.escape(str(value))}"' for name, value in node["data"].items())
    translator.body.append(f'<div class="live"{data}>\n')


def close_block(translator, node):
    translator.body.append("</div>\n")


def open_expected(translator, node):
    translator.body.append(f'<div class="live-expected"><p class="live-caption">{node["caption"]}</p>\n')


def mark(app, document):
    """Wraps the Python blocks of a page, and the source that it shows, with what the page's script needs to know."""
    page = app.env.docname
    file = next((ROOT / name for name, including in INCLUDED.items() if including == page), app.env.doc2path(page))
    text = Path(file).read_text(encoding="utf-8")
    shown = list(document.findall(nodes.literal_block))
    included = [node for node in shown if "source" in node and node["source"] != document["source"]]
    python = [node for node in shown if node.get("language") == "python" and node not in included]
    blocks, includes = python_blocks(text), list(INCLUDE.finditer(text))
    if (len(python), len(included)) != (len(blocks), len(includes)):
        found = f"{len(python)} and {len(included)} on the page, {len(blocks)} and {len(includes)} in its file"
        log.warning(
            "Python blocks and included source are not what docs/_ext/blocks.py finds: %s", found, location=page
        )
        return
    for number, (node, block) in enumerate(zip(python, blocks, strict=True)):
        if block.prints is not None:
            caption(node.next_node(nodes.literal_block, descend=False, siblings=True), block.prints, page)
        wrap(node, {"block": number, **needs(block, page)})
    for node, include in zip(included, includes, strict=True):
        if (data := source_of(include)) is not None:
            wrap(node, data)


def wrap(node, data):
    around = live_block(data=data)
    node.replace_self(around)
    around += node


def caption(printed, text, page):
    """Says above what a block prints that it is that, not what the reader's own run has printed."""
    more = " (“...” stands for what may differ)" if "..." in text else ""
    said = f"What it should print{more}"
    if page.startswith("zh/"):
        said = "应当输出" + ("（“...”处可以不同）" if more else "")
    around = live_expected(caption=said)
    printed.replace_self(around)
    around += printed


def needs(block, page):
    if block.needs and block.needs not in REASONS:
        log.warning("needs=%s is none of %s", block.needs, ", ".join(sorted(REASONS)), location=page)
    return {"needs": block.needs} if block.needs else {}


def scripts(app, page, template, context, doctree):
    """The script and style, on pages that have live blocks and nowhere else."""
    if doctree is not None and next(doctree.findall(live_block), None):
        app.add_css_file("live/live.css")
        app.add_js_file("live/page.js", loading_method="defer")


# What the pages load --------------------------------------------------------------------------------------------------


def entry(name, content, source="pyodide"):
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    return {"name": name, "bytes": len(content), "sha256": digest, "from": source}


def packed(files):
    """A wheel of files {path in it: bytes}, the same bytes for the same files."""
    name = f"minires-{minires.__version__}.dist-info"
    about = f"Metadata-Version: 2.1\nName: minires\nVersion: {minires.__version__}\nLicense: MIT\n"
    tags = "Wheel-Version: 1.0\nGenerator: docs\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files = files | {
        f"{name}/METADATA": about.encode(),
        f"{name}/WHEEL": tags.encode(),
        f"{name}/LICENSE": (ROOT / "LICENSE").read_bytes(),
    }
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip('=')},{len(content)}\n"
        for path, content in files.items()
    )
    files[f"{name}/RECORD"] = f"{record}{name}/RECORD,,\n".encode()
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, content in files.items():
            wheel.writestr(zipfile.ZipInfo(path), content, zipfile.ZIP_DEFLATED)
    return held.getvalue()


def contents(folder, into):
    """-> {path in a wheel: bytes} of a package's files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {f"{into}/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in files}


def contents_of_session(live):
    """minires, the package `live`, and the scripts that pages import from beside it."""
    beside = {name: contents(ROOT / name, name) for name in ("examples/experiments", "benchmarks/peers")}
    python = {
        path: content
        for files in (contents(live, "live"), *beside.values())
        for path, content in files.items()
        if path.endswith(".py")
    }
    return contents(ROOT / "minires", "minires") | python


def write_settings(app):
    """The wheel of a session's Python, and settings.json: what is loaded, with its hashes."""
    live = Path(app.outdir) / "_static" / "live"
    wheel = packed(contents_of_session(live))
    name = f"minires-{minires.__version__}-{hashlib.sha256(wheel).hexdigest()[:8]}-py3-none-any.whl"
    for old in live.glob("minires-*.whl"):
        old.unlink()
    (live / name).write_bytes(wheel)
    files = [
        file | {"sha256": base64.b64encode(bytes.fromhex(file["sha256"])).decode(), "from": "pyodide"}
        for file in PINNED["files"]
    ]
    settings = {
        "pyodide": "../pyodide/" if app.config.live_pyodide else PINNED["address"],
        "files": [*files, entry(name, wheel, "site")],
        "lock": PINNED["lock"],
        "wheel": name,
    }
    (live / "settings.json").write_text(json.dumps(settings), encoding="utf-8")


def copy_pyodide(app):
    """The files of the folder that live_pyodide names, if they are the ones expected."""
    folder, target = Path(app.config.live_pyodide), Path(app.outdir) / "_static" / "pyodide"
    target.mkdir(parents=True, exist_ok=True)
    for file in PINNED["files"]:
        path = folder / file["name"]
        if not path.is_file():
            raise ExtensionError(f"live_pyodide: there is no {path}; {PINNED['address']} has it")
        if hashlib.sha256(path.read_bytes()).hexdigest() != file["sha256"]:
            raise ExtensionError(f"live_pyodide: {path} is not the file of {PINNED['address']}")
        shutil.copy2(path, target / file["name"])


# What pages may load --------------------------------------------------------------------------------------------------

POLICY = (  # default-src is for what Firefox fetches ahead: the page that rel="next" names
    "default-src 'self'; object-src 'none'; frame-src 'none'; "
    "script-src 'self' blob: 'wasm-unsafe-eval' {scripts}; worker-src 'self' blob:; "
    "connect-src 'self' {cdn}; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self'; "
    "base-uri 'none'; form-action 'self'"
)
INLINE = re.compile(r"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.S)
HEAD = '<meta charset="utf-8">'  # the policy stands right behind it, before anything is loaded


def policy(page, cdn):
    """The content security policy of a page's text: its own files, its own inline scripts by hash, and the CDN."""
    hashes = {base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in INLINE.findall(page)}
    scripts = " ".join(f"'sha256-{digest}'" for digest in sorted(hashes))
    return re.sub(" +(?=;)", "", POLICY.format(scripts=scripts, cdn=cdn))


def write_policies(app):
    cdn = "" if app.config.live_pyodide else PINNED["address"]
    for path in Path(app.outdir).rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        if "Content-Security-Policy" not in page[:1000] and HEAD in page:
            meta = f'<meta http-equiv="Content-Security-Policy" content="{policy(page, cdn)}">'
            path.write_text(page.replace(HEAD, f"{HEAD}\n    {meta}", 1), encoding="utf-8")


def finish(app, error):
    if error is None and app.builder.format == "html":
        if app.config.live_pyodide:
            copy_pyodide(app)
        write_settings(app)
        write_policies(app)


def setup(app):
    app.add_config_value("live_pyodide", "", "html", str)
    app.add_node(live_block, html=(open_block, close_block))
    app.add_node(live_expected, html=(open_expected, close_block))
    app.connect("doctree-read", mark)
    app.connect("html-page-context", scripts)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
