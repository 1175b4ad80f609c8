// Writes docs/language.md from the tables of the compiler. A test asserts that the page is up to date.
import { writeFileSync } from "node:fs";
import { languagePage } from "../src/script/index.ts";

if (import.meta.main) writeFileSync("docs/language.md", languagePage());
