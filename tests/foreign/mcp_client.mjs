// A coding agent's client: the unmodified MCP SDK, over streamable HTTP or over stdio.
//
// Usage: mcp_client.mjs http URL TOKEN PAID_URL MANDATE
//        mcp_client.mjs stdio PURSER SERVICE_FILE PAID_URL MANDATE
// Prints one JSON object: what the tools said.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { ElicitRequestSchema } from '@modelcontextprotocol/sdk/types.js';

const [mode, where, credential, paidUrl, mandate] = process.argv.slice(2);
const shown = [];
const client = new Client(
  { name: 'coding-agent', version: '1.0.0' },
  { capabilities: { elicitation: { url: {} } } },
);
client.setRequestHandler(ElicitRequestSchema, async (request) => {
  shown.push(request.params);
  return { action: 'accept' };
});
const transport = mode === 'http'
  ? new StreamableHTTPClientTransport(new URL(where), { requestInit: { headers: { authorization: `Bearer ${credential}` } } })
  : new StdioClientTransport({ command: where, args: ['mcp', '--service', credential, '--mandate', mandate] });
await client.connect(transport);
// The SDK holds every answer against its tool's output schema once it has seen the list.
const { tools } = await client.listTools();
const call = (name, args) => client.callTool({ name, arguments: args });
const named = mode === 'http' ? { mandate } : {};
const bought = { url: paidUrl, purchase: `${mode} purchase`, ...named };
const first = await call('pay', bought);
const again = await call('pay', bought);
const asked = await call('request_mandate', { description: 'more', total: '1.00' });
const output = {
  protocol: transport.protocolVersion ?? null,
  tools: tools.map((tool) => tool.name),
  quote: await call('quote', { url: paidUrl, ...named }),
  first,
  again,
  status: await call('status', { payment: first.structuredContent?.payment?.id ?? 'none' }),
  budget: await call('budget', named),
  asked,
  pending: await call('status', { approval: asked.structuredContent?.approval ?? 'none' }),
  refused: await call('budget', { mandate: '0'.repeat(64) }),
  shown,
};
await client.close();
console.log(JSON.stringify(output));
