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
const module = await WebAssembly.compile(await readFile(program));
// Rust's standard library asks for functions of threads that Debian's C library for WASI, which is older, does not have. No thread can
// be created, which is error 58 (not supported), and with all others nothing is to be done.
const NOT_SUPPORTED = 58;
const threads = WebAssembly.Module.imports(module).filter(({ module, name }) => module === "env" && name.startsWith("pthread_"));
const env = Object.fromEntries(threads.map(({ name }) => [name, () => (name === "pthread_create" ? NOT_SUPPORTED : 0)]));
const instance = await WebAssembly.instantiate(module, { ...wasi.getImportObject(), env });
process.exitCode = wasi.start(instance);
