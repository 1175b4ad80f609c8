// kube: tells the deletion of an object from the deletion of its kind. A CRD that goes takes all its objects with it, and
// the watch shows each as DELETED; that says nothing about what the user wants of the network.
import type { KubeApi } from "./api.ts";
import { isForbidden, isNotFound } from "./errors.ts";
import { builtinKinds, qualifiedName, type Resource } from "./resource.ts";

/** Whether a kind comes from a CustomResourceDefinition: groups of Kubernetes itself have no dot or end in k8s.io. */
export const isCustom = (r: Resource): boolean => r.group.includes(".") && !r.group.endsWith(".k8s.io");

export class DefinitionGoneError extends Error {
  constructor(resource: Resource) {
    super(`the CustomResourceDefinition ${qualifiedName(resource)} is gone or going; its objects are kept`);
    this.name = "DefinitionGoneError";
  }
}

/** Asks whether a custom kind is there to stay. */
export class DefinitionGuard {
  readonly #api: KubeApi;
  readonly #resource: Resource;

  constructor(api: KubeApi, resource: Resource) {
    this.#api = api;
    this.#resource = resource;
  }

  /**
   * Resolves if the kind's definition exists and is not being deleted. The definition gets its deletionTimestamp before
   * its first object goes, so asking after an object's DELETED leaves no gap. Whoever may not read definitions looks
   * at discovery instead, where a kind that goes loses the verb create.
   * @throws DefinitionGoneError; ApiError or TransportError when it could not be found out, which proves nothing
   */
  async verify(signal: AbortSignal): Promise<void> {
    const options = { signal, retries: 0 };
    try {
      const name = qualifiedName(this.#resource);
      const definition = await this.#api.get(builtinKinds.CustomResourceDefinition, name, options);
      if (definition.metadata.deletionTimestamp) throw new DefinitionGoneError(this.#resource);
    } catch (error) {
      if (isNotFound(error)) throw new DefinitionGoneError(this.#resource);
      if (!isForbidden(error)) throw error;
      const verbs = await this.#api.verbs(this.#resource, options);
      if (!verbs?.includes("create")) throw new DefinitionGoneError(this.#resource);
    }
  }
}
