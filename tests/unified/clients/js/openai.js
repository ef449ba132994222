// The `openai` package with a gateway key.
import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const url = process.env.GATEWAY_URL;
const apiKey = process.env.GATEWAY_KEY;
const sdk = new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });

const model = "gpt-4o";
const messages = [{ role: "user", content: "hello there" }];
const said = "You said: hello there";
const question = [{ role: "user", content: "the weather and the clock, please" }];
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = [
  { type: "function", function: { name: "weather", parameters } },
  { type: "function", function: { name: "clock", parameters: { type: "object", properties: {} } } },
];
const Trip = z.object({ city: z.string(), days: z.number() });

// A usage of chat, embeddings or responses in the normal form.
function seen(usage) {
  assert.ok(usage, "the client saw no usage");
  const read = usage.prompt_tokens_details ?? usage.input_tokens_details;
  const written = usage.completion_tokens_details ?? usage.output_tokens_details;
  return {
    input: usage.prompt_tokens ?? usage.input_tokens,
    output: usage.completion_tokens ?? usage.output_tokens ?? 0,
    cached_input: read?.cached_tokens ?? 0,
    reasoning: written?.reasoning_tokens ?? 0,
  };
}

async function all(stream) {
  const found = [];
  for await (const item of stream) found.push(item);
  return found;
}

const text = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");

async function refused(kind, status, code, call) {
  const error = await call().then(() => assert.fail("nothing was raised"), (raised) => raised);
  assert.equal(error.constructor.name, kind.name, String(error));
  assert.equal(error.status, status);
  assert.equal(error.code, code);
  assert.ok(error.requestID);
  return error;
}

export const flows = {
  async plain() {
    const { data, response } = await sdk.chat.completions.create({ model, messages }).withResponse();
    assert.equal(data.choices[0].message.content, said);
    assert.equal(response.headers.get("x-gateway-provider"), "openai");
    assert.equal(response.headers.get("x-request-id"), data._request_id);
    return [seen(data.usage)];
  },

  async withoutV1() {
    const bare = new OpenAI({ baseURL: url, apiKey, maxRetries: 0 });
    const reply = await bare.chat.completions.create({ model, messages });
    assert.equal((await bare.models.retrieve(model)).id, model);
    return [seen(reply.usage)];
  },

  async stream() {
    const counted = await all(
      await sdk.chat.completions.create({ model, messages, stream: true, stream_options: { include_usage: true } }),
    );
    const plain = await all(await sdk.chat.completions.create({ model, messages, stream: true }));
    assert.equal(text(counted), said);
    assert.equal(text(plain), said);
    assert.ok(plain.every((chunk) => chunk.choices.length === 1 && !chunk.usage));
    const usage = seen(counted.at(-1).usage);
    return [usage, usage];
  },

  async tools() {
    const first = await sdk.chat.completions.create({ model, messages: question, tools });
    const turn = first.choices[0].message;
    assert.deepEqual(turn.tool_calls.map((call) => call.function.name), ["weather", "clock"]);
    const results = turn.tool_calls.map(({ id }) => ({ role: "tool", tool_call_id: id, content: `result of ${id}` }));
    const second = await sdk.chat.completions.create({ model, messages: [...question, turn, ...results], tools });
    assert.equal(second.choices[0].message.content, `The tool said: result of ${turn.tool_calls[1].id}`);
    return [seen(first.usage), seen(second.usage)];
  },

  // The package's own way to put chunks together, which complains of any that do not fit.
  async accumulatingStream() {
    const runner = sdk.chat.completions.stream({
      model, messages: question, tools, stream_options: { include_usage: true },
    });
    const final = await runner.finalChatCompletion();
    assert.deepEqual(final.choices[0].message.tool_calls.map((call) => call.function.name), ["weather", "clock"]);
    return [seen(final.usage)];
  },

  async parse() {
    const reply = await sdk.chat.completions.parse({
      model, messages, response_format: zodResponseFormat(Trip, "trip"),
    });
    Trip.parse(reply.choices[0].message.parsed);
    return [seen(reply.usage)];
  },

  // Base64 is asked for by the package itself.
  async embeddings() {
    const input = ["one two three", "four"];
    const packed = await sdk.embeddings.create({ model: "embedder", input });
    const plain = await sdk.embeddings.create({ model: "embedder", input, encoding_format: "float" });
    const short = await sdk.embeddings.create({ model: "embedder", input, dimensions: 16 });
    packed.data.forEach((item, i) => {
      assert.equal(item.embedding.length, plain.data[i].embedding.length);
      item.embedding.forEach((x, k) => assert.ok(Math.abs(x - plain.data[i].embedding[k]) < 1e-6));
    });
    assert.ok(short.data.every((item) => item.embedding.length === 16));
    return [packed, plain, short].map((reply) => seen(reply.usage));
  },

  async responses() {
    const whole = await sdk.responses.create({ model, input: "hello there", store: false });
    const events = await all(await sdk.responses.create({ model, input: "hello there", store: false, stream: true }));
    assert.equal(whole.output_text, said);
    assert.equal(events.at(-1).type, "response.completed");
    return [seen(whole.usage), seen(events.at(-1).response.usage)];
  },

  async responsesTools() {
    const flat = tools.map((tool) => ({ type: "function", strict: false, ...tool.function }));
    const runner = sdk.responses.stream({ model, input: question, tools: flat, store: false });
    const first = await runner.finalResponse();
    const calls = first.output.filter((item) => item.type === "function_call");
    assert.deepEqual(calls.map((call) => call.name), ["weather", "clock"]);
    const turn = calls.map(({ type, call_id, name, arguments: given }) => ({ type, call_id, name, arguments: given }));
    const results = calls.map(({ call_id }) => ({ type: "function_call_output", call_id, output: "rain" }));
    const second = await sdk.responses.create({
      model, input: [...question, ...turn, ...results], tools: flat, store: false,
    });
    assert.equal(second.output_text, "The tool said: rain");
    return [seen(first.usage), seen(second.usage)];
  },

  async models() {
    const names = (await all(sdk.models.list())).map((item) => item.id);
    assert.ok(names.includes(model) && names.includes("embedder"), names.join());
    return [];
  },

  async errors() {
    const ask = (client, name) => () => client.chat.completions.create({ model: name, messages });
    const stranger = new OpenAI({ baseURL: `${url}/v1`, apiKey: "gw-of-somebody-else", maxRetries: 0 });
    await refused(OpenAI.AuthenticationError, 401, "invalid_api_key", ask(stranger, model));
    await refused(OpenAI.NotFoundError, 404, "model_not_found", ask(sdk, "no-such-model"));
    const narrow = new OpenAI({ baseURL: `${url}/v1`, apiKey: process.env.RESTRICTED_KEY, maxRetries: 0 });
    await refused(OpenAI.PermissionDeniedError, 403, "model_not_allowed", ask(narrow, "deepseek-chat"));
    await ask(narrow, "free")();
    const limited = await refused(OpenAI.RateLimitError, 429, "rate_limit_exceeded", ask(narrow, "free"));
    assert.ok(Number(limited.headers.get("retry-after")) >= 1);
    return [];
  },
};
