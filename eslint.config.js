import path from "node:path";
import tseslint from "typescript-eslint";
import { allowedRooms, arrows, coreRooms, roomOf } from "./scripts/house.mjs";

const src = path.join(import.meta.dirname, "src");

/** Rule R1: imports between the rooms of src/ point down. */
const arrowsRule = {
  meta: {
    type: "problem",
    schema: [],
    messages: {
      arrow: "{{from}}/ may not import from {{to}}: arrows point down (R1, scripts/house.mjs)",
      room: "{{from}}/ is not a room of the house: add it to scripts/house.mjs",
    },
  },
  create(context) {
    const from = roomOf(path.relative(src, context.filename));
    if (from === undefined) return {};
    if (!(from in arrows)) return { Program: (node) => context.report({ node, messageId: "room", data: { from } }) };
    const allowed = allowedRooms(from);
    const check = (source) => {
      if (typeof source?.value !== "string" || !source.value.startsWith(".")) return;
      const target = path.relative(src, path.resolve(path.dirname(context.filename), source.value));
      const to = roomOf(target);
      if (to === undefined || !allowed.has(to)) context.report({ node: source, messageId: "arrow", data: { from, to: to ?? target } });
    };
    return {
      ImportDeclaration: (node) => check(node.source),
      ExportNamedDeclaration: (node) => check(node.source),
      ExportAllDeclaration: (node) => check(node.source),
      ImportExpression: (node) => check(node.source),
      TSImportType: (node) => check(node.source ?? node.argument?.literal),
    };
  },
};

const ioModules = ["net", "fs", "fs/promises", "timers", "timers/promises", "tls", "dgram", "http", "https", "dns", "dns/promises"];
const clockOnly = "the core is handed a Clock (R2)";

export default tseslint.config(
  { ignores: ["dist/", "node_modules/", "coverage/"] },
  {
    files: ["src/**/*.ts", "test/**/*.ts"],
    languageOptions: {
      parser: tseslint.parser,
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    plugins: { "@typescript-eslint": tseslint.plugin, house: { rules: { arrows: arrowsRule } } },
    rules: {
      "@typescript-eslint/no-floating-promises": "error",
      "@typescript-eslint/no-misused-promises": "error",
      "@typescript-eslint/no-explicit-any": "error",
      "@typescript-eslint/consistent-type-imports": "error",
      "no-debugger": "error",
      eqeqeq: "error",
      "prefer-const": "error",
      "no-var": "error",
    },
  },
  {
    files: ["src/**/*.ts"],
    rules: {
      "house/arrows": "error",
      "no-restricted-syntax": [
        "error",
        { selector: "ExportDefaultDeclaration", message: "named exports only (R3)" },
        { selector: "TSEnumDeclaration", message: "use an `as const` object or a union" },
      ],
    },
  },
  {
    files: coreRooms.map((room) => `src/${room}/**/*.ts`),
    rules: {
      "no-restricted-imports": [
        "error",
        { paths: [...ioModules.flatMap((name) => [name, `node:${name}`]), "level", "classic-level"].map((name) => ({ name, message: "the core does no I/O (R2)" })) },
      ],
      "no-restricted-globals": [
        "error",
        ...["Date", "setTimeout", "setInterval", "setImmediate", "clearTimeout", "clearInterval", "clearImmediate", "queueMicrotask"].map((name) => ({ name, message: clockOnly })),
      ],
      "no-restricted-properties": [
        "error",
        { object: "Math", property: "random", message: "the core is handed an Rng (R2)" },
        { object: "process", property: "nextTick", message: clockOnly },
        { object: "performance", property: "now", message: clockOnly },
      ],
    },
  },
);
