// In Node: node.mjs '{"pyodide": folder, "lock": file, "folders": {"/checkout": folder, ...}, "flags": [...]}'

import { pathToFileURL } from "node:url";
import { ENVIRONMENT, PACKAGES, runTests, said } from "./tests.mjs";

const settings = JSON.parse(process.argv[2]);
const { loadPyodide } = await import(pathToFileURL(`${settings.pyodide}/pyodide.mjs`));

try {
    const pyodide = await loadPyodide({
        indexURL: settings.pyodide,
        packageCacheDir: settings.pyodide,
        lockFileURL: settings.lock,
        env: { ...ENVIRONMENT, PYTHONPYCACHEPREFIX: "/compiled" },
    });
    await pyodide.loadPackage(PACKAGES, { messageCallback: () => {} });
    for (const [inside, folder] of Object.entries(settings.folders)) pyodide.mountNodeFS(inside, folder);
    process.exitCode = runTests(pyodide, settings.flags);
} catch (error) {
    console.error(said(error));
    process.exitCode = 3;
}
