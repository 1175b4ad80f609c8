// test/interop: an agent as the speaker sees it: it controls, follows all routes, and keeps every one of them in its memory.
import { fromJson } from "@bufbuild/protobuf";
import { DesiredStateSchema } from "../../src/api/generated/proto/speaker_pb.js";
import { SpeakerClient } from "../../src/bgp/daemon/speaker-client.ts";

const [path, state] = process.argv.slice(2) as [string, string];
const kept: unknown[] = [];
const { client, hello } = await SpeakerClient.open({
  path,
  controller: true,
  wantRoutes: true,
  onMessage: (message, from) => {
    if (message.case !== "routes") return;
    kept.push(message.value);
    from.acknowledge(message.value.sequence);
    if (message.value.routes.length > 0) process.stdout.write(`${kept.length}\n`);
  },
  onClose: () => process.exit(1),
});
const desired = fromJson(DesiredStateSchema, JSON.parse(state));
client.desire({ ...desired, generation: hello.generation + 1n });
process.stdout.write("desired\n");
