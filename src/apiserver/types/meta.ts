// apiserver/types: tables of the types of apimachinery: metadata, selectors, conditions, delete options.

/** OpenAPI package: io.k8s.apimachinery.pkg.apis.meta.v1. */
export const metaTypes = `
type ObjectMeta | Metadata that every stored object has.
1 name string | Name, unique within its namespace (or cluster) and kind. Cannot be changed.
2 generateName string | Prefix of a name for the server to make up, used when name is empty.
3 namespace string | The namespace that the object lives in. Cannot be changed.
4 selfLink string | No longer filled in.
5 uid string | Tells this object from every other one, also from a later one of the same name. Set by the server.
6 resourceVersion string | Changes with every write. Send it back to make a write fail if somebody else wrote first.
7 generation int64 | Counts the changes of the desired state. Set by the server.
8 creationTimestamp Time | When the object was made. Set by the server.
9 deletionTimestamp Time | When deletion was asked for; the object goes once its finalizers are gone. Set by the server.
10 deletionGracePeriodSeconds int64 | Seconds that the object is given to end by itself before it is removed.
11 labels map<string> | Keys and values to select objects by.
12 annotations map<string> | Keys and values for tools; not selectable.
13 ownerReferences []OwnerReference list=map:uid merge=uid | Objects that this one depends on; it is collected when all of them are gone.
14 finalizers []string list=set merge= | Names of those who must act before the object goes.
17 managedFields []ManagedFieldsEntry | Who set which field last. Kept by the server.
type OwnerReference atomic | An object that owns this one.
5 apiVersion! string | API version of the owner.
1 kind! string | Kind of the owner.
3 name! string | Name of the owner.
4 uid! string | UID of the owner.
6 controller bool | True for the one owner that manages this object.
7 blockOwnerDeletion bool | True if a foreground deletion of the owner waits for this object.
type ManagedFieldsEntry | The fields that one manager set.
1 manager string | Name of the manager.
2 operation string | Apply or Update.
3 apiVersion string | Version of the kind that fieldsV1 speaks of.
4 time Time | When this entry last changed.
6 fieldsType string | Format of the fields; FieldsV1 is the only one.
7 fieldsV1 object | The set of fields.
8 subresource string | The subresource that was written to, empty for the object itself.
type ListMeta | Metadata of a list.
1 selfLink string
2 resourceVersion string | Revision of the state that the list shows.
3 continue string | Token for the next page.
4 remainingItemCount int64 | How many items are left after this page.
type LabelSelector atomic | Selects by labels; all conditions must hold. Empty selects everything.
1 matchLabels map<string> | Labels that must have these values.
2 matchExpressions []LabelSelectorRequirement | Conditions on labels.
type LabelSelectorRequirement | One condition on one label.
1 key! string | The label.
2 operator! string | In, NotIn, Exists or DoesNotExist.
3 values []string | Values for In and NotIn.
type Condition | One aspect of an object's state.
1 type! string | Name of the aspect.
2 status! string | True, False or Unknown.
3 observedGeneration int64 | The generation that the condition speaks of.
4 lastTransitionTime! Time zero=null | When the status last changed.
5 reason! string | One word for programs.
6 message! string | A sentence for people.
type DeleteOptions | How to delete.
1 gracePeriodSeconds int64 | Seconds to wait before the object is removed; 0 is at once.
2 preconditions *Preconditions | What must hold for the deletion to happen.
3 orphanDependents bool | Deprecated: use propagationPolicy.
4 propagationPolicy string | Orphan, Background or Foreground.
5 dryRun []string | All: check everything, change nothing.
type Preconditions | What must hold before a deletion.
1 uid string | The UID that the object must have.
2 resourceVersion string | The resourceVersion that the object must have.
`;
