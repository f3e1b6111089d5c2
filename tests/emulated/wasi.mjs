// Runs a program for WASI, which reads files, writes to the terminal and has no threads: node wasi.mjs PROGRAM [ARG...]
import { readFile } from "node:fs/promises";
import { WASI } from "node:wasi";

const [program, ...args] = process.argv.slice(2);
const wasi = new WASI({
  version: "preview1",
  args: [program, ...args],
  env: process.env,
  preopens: { "/": "/" },
  returnOnExit: true,
});
// Rust's standard library asks for these, and Debian's C library for WASI is older than that. Nothing calls them where no
// thread has begun.
const noThread = () => {
  throw new Error("there are no threads");
};
const env = { pthread_join: noThread, pthread_detach: noThread };
const module = await WebAssembly.compile(await readFile(program));
const instance = await WebAssembly.instantiate(module, { ...wasi.getImportObject(), env });
process.exitCode = wasi.start(instance);
