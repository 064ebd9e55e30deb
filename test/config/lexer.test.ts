import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { wordsOf } from "../../src/config/lexer.ts";

describe("wordsOf", () => {
  it.each([
    ["", []],
    [" \t \r", []],
    ["port 1883", ["port@1", "1883@6"]],
    ["\t port\t\t1883 \r", ["port@3", "1883@9"]],
    ["# port 1883", []],
    ["   #port", []],
    ["port 1883 # not a comment", ["port@1", "1883@6", "#@11", "not@13", "a@17", "comment@19"]],
    ["topic # out", ["topic@1", "#@7", "out@9"]],
    ['username "john smith" x', ["username@1", "john smith@10", "x@23"]],
    ['a "" b', ["a@1", "@3", "b@6"]],
    ['a "say ""hi""" b', ["a@1", 'say "hi"@3', "b@16"]],
    ['a """"', ["a@1", '"@3']],
    ['a "open to the end ', ["a@1", "open to the end @3"]],
    ['a "b"c', ["a@1", "b@3", "c@6"]],
    ['a b"c d"', ["a@1", 'b"c@3', 'd"@7']],
    ['"#" b', ["#@1", "b@5"]],
    ['a "#"', ["a@1", "#@3"]],
  ])("%j is %j", (line, words) => expect(wordsOf(line).map(({ text, column }) => `${text}@${column}`)).toEqual(words));

  it("brings back any words that were quoted", () => {
    const word = fc.string({ unit: "binary", maxLength: 20 }).map((text) => text.replace(/\n/g, ""));
    fc.assert(
      fc.property(fc.array(word, { minLength: 1, maxLength: 6 }), (texts) => {
        const line = texts.map((text) => `"${text.replace(/"/g, '""')}"`).join(" ");
        const words = wordsOf(line);
        expect(words.map(({ text }) => text)).toEqual(texts);
        expect(words.every(({ column }) => line[column - 1] === '"')).toBe(true);
      }),
    );
  });
});
