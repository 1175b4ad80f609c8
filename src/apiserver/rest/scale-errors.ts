// apiserver/rest: checks the fields that a custom kind names for its scale subresource.
import { type FieldError, fieldErrors } from "../messages.ts";
import type { ApiObject } from "../object.ts";
import type { ResourceType } from "../registry/resource.ts";
import { parseJsonPath, select } from "../table/jsonpath.ts";

/** Complaints about the fields that the scale subresource shows, where they hold no such number. */
export function scaleErrors(type: ResourceType, object: ApiObject): FieldError[] {
  const errors: FieldError[] = [];
  for (const path of [type.scale?.specReplicas, type.scale?.statusReplicas]) {
    if (!path) continue;
    const [value] = select(parseJsonPath(path), object);
    if (value === undefined || value === null) continue;
    if (typeof value !== "number")
      errors.push(
        fieldErrors.invalid(
          path,
          0,
          `${path} accessor error: ${String(value)} is of the type ${typeof value}, expected int64`,
        ),
      );
    else if (value < 0) errors.push(fieldErrors.invalid(path, value, "should be a non-negative integer"));
    else if (value > 2 ** 31 - 1)
      errors.push(fieldErrors.invalid(path, value, `should be less than or equal to ${2 ** 31 - 1}`));
  }
  return errors;
}
