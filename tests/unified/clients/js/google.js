// The `@google/genai` package with a gateway key, over vendors that do not speak its dialect.
import assert from "node:assert/strict";
import { ApiError, GoogleGenAI, Type } from "@google/genai";

const baseUrl = process.env.GATEWAY_URL;
const client = (apiKey) => new GoogleGenAI({ apiKey, httpOptions: { baseUrl } });
const sdk = client(process.env.GATEWAY_KEY);

const contents = "hello there";
const said = "You said: hello there";
const object = (properties, required) => ({ type: Type.OBJECT, properties, required });
const functionDeclarations = [
  { name: "weather", description: "Of a city", parameters: object({ city: { type: Type.STRING } }, ["city"]) },
  { name: "clock", description: "The time", parametersJsonSchema: { type: "object", properties: {} } },
];
const results = { weather: "rain", clock: "noon" };

function seen(usage) {
  const reasoning = usage.thoughtsTokenCount ?? 0;
  return {
    input: usage.promptTokenCount,
    output: (usage.candidatesTokenCount ?? 0) + reasoning,
    cached_input: usage.cachedContentTokenCount ?? 0,
    reasoning,
  };
}

const kinds = {
  async generate(model) {
    const found = await sdk.models.generateContent({ model, contents, config: { systemInstruction: "Be brief." } });
    assert.equal(found.text, said);
    assert.equal(found.candidates[0].finishReason, "STOP");
    assert.equal(found.modelVersion, model);
    return [seen(found.usageMetadata)];
  },

  async stream(model) {
    const config = { thinkingConfig: { includeThoughts: true, thinkingBudget: 1024 }, maxOutputTokens: 3000 };
    const chunks = [];
    for await (const chunk of await sdk.models.generateContentStream({ model, contents, config })) chunks.push(chunk);
    assert.equal(chunks.map((chunk) => chunk.text ?? "").join(""), said);
    return [seen(chunks.at(-1).usageMetadata)];
  },

  // A chat keeps what was said; the calls are answered by hand.
  async chat(model) {
    const chat = sdk.chats.create({ model, config: { tools: [{ functionDeclarations }] } });
    const first = await chat.sendMessage({ message: "the weather and the clock, please" });
    assert.deepEqual(first.functionCalls.map((call) => call.name), ["weather", "clock"]);
    const message = first.functionCalls.map(({ id, name }) => ({
      functionResponse: { id, name, response: { output: results[name] } },
    }));
    const second = await chat.sendMessage({ message });
    assert.equal(second.text, "The tool said: noon");
    return [seen(first.usageMetadata), seen(second.usageMetadata)];
  },

  async object(model) {
    const responseSchema = object({ city: { type: Type.STRING }, days: { type: Type.INTEGER } }, ["city", "days"]);
    const config = { responseMimeType: "application/json", responseSchema };
    const found = await sdk.models.generateContent({ model, contents, config });
    assert.equal(typeof JSON.parse(found.text).city, "string");
    return [seen(found.usageMetadata)];
  },
};

async function errors() {
  for (const [from, model, status] of [
    [sdk, "no-such-model", 404], [sdk, "embedder", 400], [client("gw-of-somebody-else"), "gpt", 401],
  ]) {
    const error = await from.models.generateContent({ model, contents }).then(
      () => assert.fail("nothing was raised"), (raised) => raised,
    );
    assert.ok(error instanceof ApiError, String(error));
    assert.equal(error.status, status);
  }
  return [];
}

export const flows = { errors };
for (const model of ["gpt", "claude", "qwen"]) {
  for (const [kind, flow] of Object.entries(kinds)) flows[`${kind} over ${model}`] = () => flow(model);
}
