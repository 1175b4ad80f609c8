// What controllers in Go do with an API server: an informer, the dynamic client, leader election. Prints one JSON line.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// Each wait ends after this long at most: a starved machine may be slow, a server that says nothing is wrong.
const limit = 60 * time.Second

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return value
}

func wait(what string, channel <-chan string) string {
	select {
	case value := <-channel:
		return value
	case <-time.After(limit):
		fmt.Fprintln(os.Stderr, "nothing within the time allowed:", what)
		os.Exit(1)
		return ""
	}
}

// changes returns handlers that tell of each change, and where they tell it.
func changes(name func(any) string) (cache.ResourceEventHandlerFuncs, <-chan string) {
	out := make(chan string, 1000)
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { out <- "added " + name(o) },
		UpdateFunc: func(_, o any) { out <- "updated " + name(o) },
		DeleteFunc: func(o any) { out <- "deleted " + name(o) },
	}, out
}

func next(seen []string, what string, channel <-chan string) []string {
	return append(seen, wait(what, channel))
}

func main() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	config := must(clientcmd.BuildConfigFromFlags("", os.Args[1]))
	client := must(kubernetes.NewForConfig(config))
	custom := must(dynamic.NewForConfig(config))
	report := map[string]any{}

	// A typed informer: bodies of built-in kinds, its own list and watch.
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace("default"))
	maps := factory.Core().V1().ConfigMaps().Informer()
	handlers, told := changes(func(o any) string { return o.(*corev1.ConfigMap).Name })
	must(maps.AddEventHandler(handlers))
	factory.Start(ctx.Done())
	synced, cancel := context.WithTimeout(ctx, limit)
	report["informerSynced"] = cache.WaitForCacheSync(synced.Done(), maps.HasSynced)
	cancel()
	configMaps := client.CoreV1().ConfigMaps("default")
	made := must(configMaps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "from-go"}}, metav1.CreateOptions{}))
	var seen []string
	// Others may have made some before.
	for seen = next(nil, "added", told); seen[0] != "added from-go"; {
		seen = next(nil, "added", told)
	}
	made.Data = map[string]string{"a": "1"}
	must(configMaps.Update(ctx, made, metav1.UpdateOptions{}))
	seen = next(seen, "updated", told)
	stale := made.DeepCopy()
	stale.ResourceVersion = "1"
	_, err := configMaps.Update(ctx, stale, metav1.UpdateOptions{})
	report["staleUpdateConflicts"] = apierrors.IsConflict(err)
	must(0, configMaps.Delete(ctx, "from-go", metav1.DeleteOptions{}))
	report["informer"] = next(seen, "deleted", told)
	_, err = configMaps.Get(ctx, "from-go", metav1.GetOptions{})
	report["notFound"] = apierrors.IsNotFound(err)

	// The dynamic client and its informer, on one of our kinds.
	pools := schema.GroupVersionResource{Group: "waggle.dev", Version: "v1alpha1", Resource: "ippools"}
	kinds := dynamicinformer.NewDynamicSharedInformerFactory(custom, 0)
	informer := kinds.ForResource(pools).Informer()
	handlers, told = changes(func(o any) string { return o.(*unstructured.Unstructured).GetName() })
	must(informer.AddEventHandler(handlers))
	kinds.Start(ctx.Done())
	synced, cancel = context.WithTimeout(ctx, limit)
	report["dynamicSynced"] = cache.WaitForCacheSync(synced.Done(), informer.HasSynced)
	cancel()
	pool := &unstructured.Unstructured{}
	must(0, json.Unmarshal([]byte(os.Args[2]), &pool.Object))
	name := pool.GetName()
	must(custom.Resource(pools).Create(ctx, pool, metav1.CreateOptions{}))
	seen = next(nil, "added", told)
	label := []byte(`{"metadata":{"labels":{"made-by":"go"}}}`)
	must(custom.Resource(pools).Patch(ctx, name, types.MergePatchType, label, metav1.PatchOptions{}))
	seen = next(seen, "updated", told)
	applied := must(custom.Resource(pools).Apply(ctx, name, pool, metav1.ApplyOptions{FieldManager: "go", Force: true}))
	managers := []string{}
	for _, m := range applied.GetManagedFields() {
		managers = append(managers, string(m.Operation)+" "+m.Manager)
	}
	report["managers"] = managers
	seen = next(seen, "updated", told)
	list := must(custom.Resource(pools).List(ctx, metav1.ListOptions{LabelSelector: "made-by=go", Limit: 1}))
	report["selected"] = len(list.Items)
	must(0, custom.Resource(pools).Delete(ctx, name, metav1.DeleteOptions{}))
	report["dynamic"] = next(seen, "deleted", told)

	report["elections"] = elections(ctx, client)
	fmt.Println(string(must(json.Marshal(report))))
}

// elections lets two candidates stand for one Lease: the first leads, and when it gives up the second does.
func elections(ctx context.Context, client kubernetes.Interface) []string {
	told := make(chan string, 10)
	stand := func(name string) context.CancelFunc {
		lock := must(resourcelock.NewFromKubeconfig(resourcelock.LeasesResourceLock, "default", "go-election", resourcelock.ResourceLockConfig{Identity: name}, must(clientcmd.BuildConfigFromFlags("", os.Args[1])), 10*time.Second))
		term, end := context.WithCancel(ctx)
		go leaderelection.RunOrDie(term, leaderelection.LeaderElectionConfig{
			Lock: lock, ReleaseOnCancel: true,
			LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 500 * time.Millisecond,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(context.Context) { told <- name + " leads" },
				OnStoppedLeading: func() {},
			},
		})
		return end
	}
	first := stand("one")
	seen := next(nil, "the first leader", told)
	defer stand("two")()
	first()
	return next(seen, "the second leader", told)
}
