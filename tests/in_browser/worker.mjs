// In Chromium, as a Web Worker: the tests, whose lines go to the server that brought this file.

import { loadPyodide } from "./pyodide/pyodide.mjs";
import { ENVIRONMENT, PACKAGES, runTests, said } from "./tests.mjs";

// At once, while Python runs: a worker may wait for an answer.
function post(address, text) {
    const request = new XMLHttpRequest();
    request.open("POST", address, false);
    request.send(text);
}

const bytes = async (address) => (await fetch(address)).arrayBuffer();
const line = (text) => post("said", `${text}\n`);

try {
    const settings = await (await fetch("settings.json")).json();
    const pyodide = await loadPyodide({
        indexURL: new URL("pyodide/", import.meta.url).href,
        lockFileURL: new URL("pyodide-lock.json", import.meta.url).href,
        env: ENVIRONMENT,
        stdout: line,
        stderr: line,
    });
    await pyodide.loadPackage(PACKAGES, { messageCallback: () => {} });
    for (const folder of ["/checkout", "/packages"])
        pyodide.unpackArchive(await bytes(`${folder}.zip`), "zip", { extractDir: folder });
    post("ended", String(runTests(pyodide, settings.flags)));
} catch (error) {
    line(said(error));
    post("ended", "3");
}
