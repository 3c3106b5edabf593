// Runs a WASI preview 1 program under Node.js: `node node.mjs [--dir HOST::GUEST] FILE args…`.
// Only what a race needs; the exit code is the guest's.
import { readFileSync } from "node:fs";
import { argv, exit } from "node:process";
import { WASI } from "node:wasi";

const args = argv.slice(2);
const preopens = {};
const env = {};
let argv0;
for (;;) {
  const flag = args[0];
  if (flag === "--dir") {
    const [host, guest = host] = args[1].split("::");
    preopens[guest] = host;
  } else if (flag === "--env") {
    const [name, ...value] = args[1].split("=");
    env[name] = value.join("=");
  } else if (flag === "--argv0") {
    argv0 = args[1];
  } else {
    break;
  }
  args.splice(0, 2);
}
const file = args[0];
const wasi = new WASI({
  version: "preview1",
  args: [argv0 ?? file, ...args.slice(1)],
  env,
  preopens,
  returnOnExit: true,
});
const module = await WebAssembly.compile(readFileSync(file));
const instance = await WebAssembly.instantiate(module, wasi.getImportObject());
exit(wasi.start(instance));
