// test: a process that programs a node's datapath and then waits to be killed.
import { Datapath, type DatapathOptions, type DesiredDatapath } from "../../../src/datapath/index.ts";

process.on("message", ({ options, desired }: { options: DatapathOptions; desired: DesiredDatapath }) => {
  const datapath = Datapath.open(options);
  process.send?.({ result: datapath.sync(desired), layout: datapath.layout });
});
