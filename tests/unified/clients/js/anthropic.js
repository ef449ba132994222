// The `@anthropic-ai/sdk` package with a gateway key, over vendors that do not speak its dialect.
import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import { betaZodTool } from "@anthropic-ai/sdk/helpers/beta/zod";
import { z } from "zod";

const baseURL = process.env.GATEWAY_URL;
const sdk = new Anthropic({ baseURL, apiKey: process.env.GATEWAY_KEY, maxRetries: 0 });

const messages = [{ role: "user", content: "hello there" }];
const question = { role: "user", content: "the weather and the clock, please" };
const said = "You said: hello there";
const Trip = z.object({ city: z.string(), days: z.number() });
const thinking = { type: "enabled", budget_tokens: 1024 };

// Input counts here without what the cache gave.
function seen(usage) {
  const cached = usage.cache_read_input_tokens ?? 0;
  return {
    input: usage.input_tokens + cached + (usage.cache_creation_input_tokens ?? 0),
    output: usage.output_tokens,
    cached_input: cached,
    reasoning: usage.output_tokens_details?.thinking_tokens ?? 0,
  };
}

const text = (message) => message.content.filter((block) => block.type === "text").map((block) => block.text).join("");

const kinds = {
  async plain(model) {
    const { data, request_id: id } = await sdk.messages.create({ model, messages, max_tokens: 100 }).withResponse();
    assert.equal(text(data), said);
    assert.equal(data.stop_reason, "end_turn");
    assert.ok(id);
    return [seen(data.usage)];
  },

  async stream(model) {
    const stream = sdk.messages.stream({ model, messages, max_tokens: 3000, thinking });
    const pieces = [];
    stream.on("text", (piece) => pieces.push(piece));
    const final = await stream.finalMessage();
    assert.equal(pieces.join(""), said);
    assert.equal(text(final), said);
    assert.ok(seen(final.usage).reasoning > 0);
    return [seen(final.usage)];
  },

  // The package calls the functions itself. `thread: false`: it keeps the conversation itself, too.
  async toolRunner(model) {
    const tools = [
      betaZodTool({
        name: "weather", description: "Of a city", inputSchema: z.object({ city: z.string() }), run: async () => "rain",
      }),
      betaZodTool({ name: "clock", description: "The time", inputSchema: z.object({}), run: async () => "noon" }),
    ];
    const turns = [];
    for await (const turn of sdk.beta.messages.toolRunner({
      model, messages: [question], tools, max_tokens: 3000, thinking, thread: false,
    })) {
      turns.push(turn);
    }
    assert.deepEqual(turns.map((turn) => turn.stop_reason), ["tool_use", "end_turn"]);
    assert.equal(text(turns.at(-1)), "The tool said: noon");
    return turns.map((turn) => seen(turn.usage));
  },

  async parse(model) {
    const found = await sdk.messages.parse({
      model, messages, max_tokens: 200, output_config: { format: zodOutputFormat(Trip) },
    });
    Trip.parse(found.parsed_output);
    return [seen(found.usage)];
  },
};

async function refused(kind, status, type, call) {
  const error = await call().then(() => assert.fail("nothing was raised"), (raised) => raised);
  assert.equal(error.constructor.name, kind.name, String(error));
  assert.equal(error.status, status);
  assert.equal(error.error.error.type, type);
  assert.ok(error.requestID);
}

async function errors() {
  const ask = (client, model) => () => client.messages.create({ model, messages, max_tokens: 100 });
  const stranger = new Anthropic({ baseURL, apiKey: "gw-of-somebody-else", maxRetries: 0 });
  await refused(Anthropic.AuthenticationError, 401, "authentication_error", ask(stranger, "gpt"));
  await refused(Anthropic.NotFoundError, 404, "not_found_error", ask(sdk, "no-such-model"));
  await refused(Anthropic.BadRequestError, 400, "invalid_request_error", ask(sdk, "embedder"));
  return [];
}

export const flows = { errors };
for (const model of ["gpt", "gemini", "qwen"]) {
  for (const [kind, flow] of Object.entries(kinds)) flows[`${kind} over ${model}`] = () => flow(model);
}
