// Writes examples/two-clusters from the lab's own manifests; a test asserts that the files are these.
import { writeFileSync } from "node:fs";
import { clusterManifests, toYaml, webService } from "../src/lab/manifests.ts";
import { topology } from "../src/lab/topology.ts";

const two = topology({ lab: "default", clusters: 2, nodes: 2 });
for (const cluster of two.clusters)
  writeFileSync(
    `examples/two-clusters/${cluster.name}.yaml`,
    `# ${cluster.name}: apply with kubectl --kubeconfig … apply -f\n${toYaml(clusterManifests(two, cluster))}`,
  );
writeFileSync(
  "examples/two-clusters/web.yaml",
  `# A Service that gets an address of each family\n${toYaml([webService()])}`,
);
