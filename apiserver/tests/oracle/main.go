// Command oracle runs sequences of applies and updates through Kubernetes' own structured-merge-diff. It reads one
// sequence per line and writes, per line, what each step left: the object, who owns what, the conflicts.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sort"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/merge"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

type step struct {
	Op      string                 `json:"op"`
	Manager string                 `json:"manager"`
	Force   bool                   `json:"force"`
	Object  map[string]interface{} `json:"object"`
}

type result struct {
	Object    interface{}                `json:"object"`
	Managers  map[string]json.RawMessage `json:"managers"`
	Conflicts []string                   `json:"conflicts"`
	Error     string                     `json:"error"`
}

type same struct{}

func (same) Convert(v *typed.TypedValue, _ fieldpath.APIVersion) (*typed.TypedValue, error) {
	return v, nil
}
func (same) IsMissingVersionError(error) bool { return false }

var never = fieldpath.NewSet(
	fieldpath.MakePathOrDie("apiVersion"), fieldpath.MakePathOrDie("kind"), fieldpath.MakePathOrDie("metadata"),
	fieldpath.MakePathOrDie("metadata", "name"),
)

const version = fieldpath.APIVersion("v1")

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Maps that lost their last field become null; here they go.
func withoutNulls(v interface{}) interface{} {
	if m, ok := v.(map[string]interface{}); ok {
		for k, x := range m {
			if x == nil {
				delete(m, k)
			} else {
				m[k] = withoutNulls(x)
			}
		}
	}
	return v
}

// The one default of the schema, filled in as the server does after an apply.
func withDefaults(object map[string]interface{}) map[string]interface{} {
	spec, _ := object["spec"].(map[string]interface{})
	ports, _ := spec["ports"].([]interface{})
	for _, p := range ports {
		if port, ok := p.(map[string]interface{}); ok && port["proto"] == nil {
			port["proto"] = "tcp"
		}
	}
	return object
}

func strip(managers fieldpath.ManagedFields, manager string) {
	if owned, ok := managers[manager]; ok {
		left := owned.Set().Difference(never)
		if left.Empty() {
			delete(managers, manager)
		} else {
			managers[manager] = fieldpath.NewVersionedSet(left, owned.APIVersion(), owned.Applied())
		}
	}
}

func run(t typed.ParseableType, steps []step) []result {
	updater := merge.Updater{Converter: same{}}
	live := map[string]interface{}{"apiVersion": "v1", "kind": "Thing"}
	managers := fieldpath.ManagedFields{}
	out := []result{}
	for _, s := range steps {
		r := result{Managers: map[string]json.RawMessage{}, Conflicts: []string{}}
		liveTyped, err := t.FromUnstructured(live, typed.AllowDuplicates)
		check(err)
		switch s.Op {
		case "apply":
			config, err := t.FromUnstructured(s.Object)
			if err != nil {
				r.Error = err.Error()
				break
			}
			object, left, err := updater.Apply(liveTyped, config, version, managers.Copy(), s.Manager, s.Force)
			if conflicts, ok := err.(merge.Conflicts); ok {
				for _, c := range conflicts {
					r.Conflicts = append(r.Conflicts, c.Manager+" "+c.Path.String())
				}
				sort.Strings(r.Conflicts)
				break
			}
			check(err)
			managers = left
			strip(managers, s.Manager)
			if object != nil {
				live = withDefaults(withoutNulls(object.AsValue().Unstructured()).(map[string]interface{}))
			}
		case "update":
			object, err := t.FromUnstructured(s.Object, typed.AllowDuplicates)
			check(err)
			const self = "current-operation"
			_, left, err := updater.Update(liveTyped, object, version, managers.Copy(), self)
			check(err)
			managers = left
			strip(managers, self)
			if gained, ok := managers[self]; ok {
				delete(managers, self)
				set := gained.Set()
				if before, ok := managers[s.Manager]; ok {
					set = set.Union(before.Set())
				}
				managers[s.Manager] = fieldpath.NewVersionedSet(set, version, false)
			}
			live = s.Object
		}
		r.Object = live
		for name, owned := range managers {
			fields, err := owned.Set().ToJSON()
			check(err)
			r.Managers[name] = fields
		}
		// A copy: later steps change live in place.
		bytes, err := json.Marshal(r)
		check(err)
		var copied result
		check(json.Unmarshal(bytes, &copied))
		out = append(out, copied)
	}
	return out
}

func main() {
	schema, err := os.ReadFile(os.Args[1])
	check(err)
	parser, err := typed.NewParser(typed.YAMLObject(schema))
	check(err)
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 64<<20)
	for in.Scan() {
		var steps []step
		check(json.Unmarshal(in.Bytes(), &steps))
		bytes, err := json.Marshal(run(parser.Type("root"), steps))
		check(err)
		fmt.Println(string(bytes))
	}
	check(in.Err())
}
