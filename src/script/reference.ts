// script: what the language has, from the tables that the checker goes by: for the language page and for completion.
import { BUILTINS } from "./check/builtins.ts";
import { FUNCTIONS } from "./check/calls.ts";
import { settingNames } from "./check/config.ts";
import { PROVIDERS } from "./providers.ts";

export interface LanguageReference {
  readonly functions: readonly {
    readonly name: string;
    readonly usage: string;
    readonly about: string;
    readonly unsafe: boolean;
  }[];
  readonly builtins: readonly { readonly name: string; readonly about: string }[];
  readonly providers: readonly {
    readonly name: string;
    readonly aliases: readonly string[];
    readonly usage: string;
  }[];
  readonly settings: readonly string[];
}

export function languageReference(): LanguageReference {
  return {
    functions: [...FUNCTIONS.values()]
      .map(({ name, usage, about, unsafe }) => ({ name, usage, about, unsafe: unsafe === true }))
      .sort((a, b) => (a.name < b.name ? -1 : 1)),
    builtins: BUILTINS.map(({ name, about }) => ({ name, about })),
    providers: PROVIDERS.map(({ name, aliases, usage }) => ({ name, aliases, usage })),
    settings: [...settingNames].sort(),
  };
}
