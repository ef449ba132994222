// The `ai` package over its providers for the dialects of OpenAI, Anthropic and Google, with a gateway key.
import assert from "node:assert/strict";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createGoogleGenerativeAI } from "@ai-sdk/google";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const url = process.env.GATEWAY_URL;
const apiKey = process.env.GATEWAY_KEY;
const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey });
const compatible = (baseURL) =>
  createOpenAICompatible({ name: "gateway", baseURL, apiKey, includeUsage: true, supportsStructuredOutputs: true });

const anthropic = createAnthropic({ baseURL: `${url}/v1`, apiKey });
const google = createGoogleGenerativeAI({ baseURL: `${url}/v1beta`, apiKey });

const models = {
  chat: openai.chat("gpt-4o"),
  responses: openai.responses("gpt-4o"),
  compatible: compatible(`${url}/v1`)("gpt-4o"),
  compatibleWithoutV1: compatible(url)("gpt-4o"),
  // And vendors of another dialect than the one they are called in.
  "chat to claude": openai.chat("claude"),
  "responses to gemini": openai.responses("gemini"),
  "anthropic to gpt": anthropic("gpt"),
  "anthropic to gemini": anthropic("gemini"),
  "google to gpt": google("gpt"),
  "google to claude": google("claude"),
};
// Nothing is kept at the vendor: what a follow-up needs goes along with it.
const providerOptions = { openai: { store: false } };
const common = { maxRetries: 0, providerOptions };
const prompt = "hello there";
const said = "You said: hello there";

const tools = {
  weather: tool({
    description: "The weather of a city", inputSchema: z.object({ city: z.string() }), execute: async () => "rain",
  }),
  clock: tool({ description: "What time it is", inputSchema: z.object({}), execute: async () => "noon" }),
};

function seen(usage) {
  return {
    input: usage.inputTokens,
    output: usage.outputTokens,
    cached_input: usage.inputTokenDetails?.cacheReadTokens ?? 0,
    reasoning: usage.outputTokenDetails?.reasoningTokens ?? 0,
  };
}

const kinds = {
  async generate(model) {
    const found = await generateText({ model, prompt, ...common });
    assert.equal(found.text, said);
    assert.equal(found.finishReason, "stop");
    return [seen(found.usage)];
  },

  async stream(model) {
    const failures = [];
    const found = streamText({ model, prompt, ...common, onError: ({ error }) => failures.push(error) });
    const pieces = [];
    for await (const piece of found.textStream) pieces.push(piece);
    assert.deepEqual(failures, []);
    assert.equal(pieces.join(""), said);
    assert.ok(pieces.length > 1);
    return [seen(await found.usage)];
  },

  // Two calls at once, their results, and the answer to them: a second step of the same call.
  async tools(model) {
    const found = await generateText({
      model, tools, prompt: "the weather and the clock, please", stopWhen: stepCountIs(3), ...common,
    });
    assert.deepEqual(found.steps[0].toolCalls.map((call) => call.toolName), ["weather", "clock"]);
    assert.equal(found.text, "The tool said: noon");
    return found.steps.map((step) => seen(step.usage));
  },

  async streamedTools(model) {
    const found = streamText({
      model, tools, prompt: "the weather and the clock, please", stopWhen: stepCountIs(3), ...common,
    });
    await found.consumeStream();
    const steps = await found.steps;
    assert.deepEqual(steps[0].toolCalls.map((call) => call.toolName), ["weather", "clock"]);
    assert.equal(await found.text, "The tool said: noon");
    return steps.map((step) => seen(step.usage));
  },

  async object(model) {
    const schema = z.object({ city: z.string(), days: z.number() });
    const found = await generateText({ model, prompt, output: Output.object({ schema }), ...common });
    schema.parse(found.output);
    return [seen(found.usage)];
  },
};

async function embed(model) {
  const found = await embedMany({ model, values: ["one two three", "four"], maxRetries: 0 });
  assert.equal(found.embeddings.length, 2);
  return [{ input: found.usage.tokens }];
}

async function unknownModel() {
  const error = await generateText({ model: openai.chat("no-such-model"), prompt, maxRetries: 0 }).then(
    () => assert.fail("nothing was raised"), (raised) => raised,
  );
  assert.equal(error.name, "AI_APICallError");
  assert.equal(error.statusCode, 404);
  assert.equal(error.data.error.code, "model_not_found");
  return [];
}

// Thoughts are shown, and go back with the results of the tools that were called after them.
async function thinking() {
  const found = streamText({
    model: anthropic("deepseek"), tools, prompt: "the weather and the clock, please", stopWhen: stepCountIs(3),
    maxRetries: 0, maxOutputTokens: 3000,
    providerOptions: { anthropic: { thinking: { type: "enabled", budgetTokens: 1024 } } },
  });
  await found.consumeStream();
  const steps = await found.steps;
  assert.ok(steps.every((step) => step.reasoningText), "no thoughts");
  assert.equal(await found.text, "The tool said: noon");
  return steps.map((step) => seen(step.usage));
}

export const flows = {
  embedOpenai: () => embed(openai.embedding("embedder")),
  embedCompatible: () => embed(compatible(`${url}/v1`).embeddingModel("embedder")),
  unknownModel,
  thinking,
};
for (const [over, model] of Object.entries(models)) {
  for (const [kind, flow] of Object.entries(kinds)) flows[`${kind} over ${over}`] = () => flow(model);
}
