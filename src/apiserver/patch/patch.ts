// apiserver/patch: JSON patch (RFC 6902) and merge patch (RFC 7396).
import jsonpatch, { type Operation } from "fast-json-patch";
import { clone, isObject, type Json, type JsonObject, setKey } from "../json.ts";
import { ApiError, badRequest } from "../messages.ts";

/** Operations in one JSON patch; the real server's limit. */
const maxOperations = 10_000;

/** The real server does not say which operation failed. */
const rejected = (): ApiError =>
  new ApiError(422, "Invalid", "the server rejected our request due to an error in our request", {});

/** Applies a JSON patch to a copy. Throws 400 for what is no patch, 422 for one that does not fit, failed tests included. */
export function jsonPatch(target: Json, patch: Json): Json {
  if (!Array.isArray(patch))
    throw badRequest(
      "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
    );
  if (patch.length > maxOperations)
    throw new ApiError(
      413,
      "RequestEntityTooLarge",
      `The allowed maximum operations in a JSON patch is ${maxOperations}, got ${patch.length}`,
    );
  const document: Json = clone(target);
  try {
    const result = jsonpatch.applyPatch(document, patch as unknown as Operation[], true, true, true);
    return result.newDocument;
  } catch (error) {
    if (error instanceof jsonpatch.JsonPatchError) throw rejected();
    throw error;
  }
}

/** Applies a merge patch to a copy: null removes, objects merge, everything else replaces. */
export function mergePatch(target: Json | undefined, patch: Json): Json {
  if (!isObject(patch)) return clone(patch);
  const result: JsonObject = isObject(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else setKey(result, key, mergePatch(Object.hasOwn(result, key) ? result[key] : undefined, value));
  }
  return result;
}
