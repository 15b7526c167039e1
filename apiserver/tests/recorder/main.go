// Command recorder asks Kubernetes' own code what it says about the cases in apiserver/src/schema/testdata and
// apiserver/src/openapi/testdata, and apiserver/src/http/protobuf/testdata, and writes them again with its answers:
//
//	go run . validation ../../src/schema/testdata/widget.json < ../../src/schema/testdata/validation.jsonl
//	go run . definitions < ../../src/schema/testdata/definitions.jsonl
//	go run . openapi ../../src/schema/testdata/widget.json
//	go run . protobuf < ../../src/http/protobuf/testdata/bodies.jsonl
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apiextensions-apiserver/pkg/controller/openapi/builder"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/common"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// definition is a CRD with this schema.
func definition(raw []byte) *apiextensionsv1.CustomResourceDefinition {
	props := &apiextensionsv1.JSONSchemaProps{}
	check(json.Unmarshal(raw, props))
	crd := &apiextensionsv1.CustomResourceDefinition{}
	crd.Name = "widgets.parity.rbee.dev"
	crd.Spec = apiextensionsv1.CustomResourceDefinitionSpec{
		Group: "parity.rbee.dev", Scope: apiextensionsv1.NamespaceScoped,
		Names: apiextensionsv1.CustomResourceDefinitionNames{Kind: "Widget", Plural: "widgets", Singular: "widget", ListKind: "WidgetList"},
		Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
			Name: "v1", Served: true, Storage: true,
			Schema:           &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: props},
			SelectableFields: []apiextensionsv1.SelectableField{{JSONPath: ".spec.mode"}, {JSONPath: ".spec.size"}},
			Subresources: &apiextensionsv1.CustomResourceSubresources{
				Status: &apiextensionsv1.CustomResourceSubresourceStatus{},
				Scale:  &apiextensionsv1.CustomResourceSubresourceScale{SpecReplicasPath: ".spec.replicas", StatusReplicasPath: ".status.replicas"},
			},
		}},
	}
	apiextensionsv1.SetDefaults_CustomResourceDefinition(crd)
	apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&crd.Spec)
	return crd
}

func words(errs field.ErrorList, prefix string) []string {
	out := []string{}
	for _, e := range errs {
		text := strings.TrimPrefix(strings.TrimPrefix(e.Error(), prefix), ".")
		out = append(out, string(e.Type)+" "+text)
	}
	sort.Strings(out)
	return out
}

func write(v interface{}) {
	buffer := &bytes.Buffer{}
	encoder := json.NewEncoder(buffer)
	encoder.SetEscapeHTML(false)
	check(encoder.Encode(v))
	os.Stdout.Write(buffer.Bytes())
}

const notChecked = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"

// validate is what the strategy of custom resources does on create and update, less the metadata.
func validate(ss *schema.Structural, validator validation.SchemaValidator, rules *cel.Validator, object, old map[string]interface{}) field.ErrorList {
	var errs field.ErrorList
	var options []cel.Option
	var before interface{}
	if old == nil {
		errs = validation.ValidateCustomResource(nil, object, validator)
	} else {
		before = old
		both := common.NewCorrelatedObject(object, old, &model.Structural{Structural: ss})
		errs = validation.ValidateCustomResourceUpdate(nil, object, old, validator, validation.WithRatcheting(both))
		options = append(options, cel.WithRatcheting(both))
	}
	errs = append(errs, objectmeta.Validate(nil, object, ss, false)...)
	if old == nil || len(listtype.ValidateListSetsAndMaps(nil, ss, old)) == 0 {
		errs = append(errs, listtype.ValidateListSetsAndMaps(nil, ss, object)...)
	}
	for _, e := range errs {
		switch e.Type {
		case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
			return append(errs, field.Invalid(nil, nil, notChecked))
		}
	}
	found, _ := rules.Validate(context.TODO(), nil, ss, object, before, celconfig.RuntimeCELCostBudget, options...)
	return append(errs, found...)
}

func recordValidation(raw []byte) {
	in := &apiextensions.CustomResourceValidation{}
	crd := definition(raw)
	check(apiextensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(crd.Spec.Versions[0].Schema, in, nil))
	ss, err := schema.NewStructural(in.OpenAPIV3Schema)
	check(err)
	validator, _, err := validation.NewSchemaValidator(in.OpenAPIV3Schema)
	check(err)
	rules := cel.NewValidator(ss, true, celconfig.PerCallLimit)
	for lines := json.NewDecoder(os.Stdin); lines.More(); {
		var line struct{ New, Old json.RawMessage }
		check(lines.Decode(&line))
		decode := func(raw json.RawMessage) (map[string]interface{}, []string) {
			if string(raw) == "null" {
				return nil, nil
			}
			object := map[string]interface{}{}
			check(utiljson.Unmarshal(raw, &object))
			unknown := pruning.PruneWithOptions(object, ss, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
			defaulting.PruneNonNullableNullsWithoutDefaults(object, ss)
			defaulting.Default(object, ss)
			return object, unknown
		}
		old, _ := decode(line.Old)
		object, unknown := decode(line.New)
		if unknown == nil {
			unknown = []string{}
		}
		errs := validate(ss, validator, rules, object, old)
		write(map[string]interface{}{"new": line.New, "old": line.Old, "object": object, "unknown": unknown, "errors": words(errs, "")})
	}
}

func recordDefinitions() {
	for lines := json.NewDecoder(os.Stdin); lines.More(); {
		var line struct{ Schema json.RawMessage }
		check(lines.Decode(&line))
		crd := definition(line.Schema)
		crd.Spec.Versions[0].SelectableFields, crd.Spec.Versions[0].Subresources = nil, nil
		in := &apiextensions.CustomResourceDefinition{}
		check(apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(crd, in, nil))
		in.Status.StoredVersions = []string{"v1"}
		errs := crdvalidation.ValidateCustomResourceDefinition(context.TODO(), in)
		write(map[string]interface{}{"schema": line.Schema, "errors": words(errs, "spec.validation.openAPIV3Schema")})
	}
}

func recordOpenAPI(raw []byte) {
	document, err := builder.BuildOpenAPIV3(definition(raw), "v1", builder.Options{AllowNonStructural: true, IncludeSelectableFields: true})
	check(err)
	for name := range document.Components.Schemas {
		if !strings.Contains(name, "parity") {
			delete(document.Components.Schemas, name)
		}
	}
	out, err := json.Marshal(document)
	check(err)
	var plain interface{}
	check(json.Unmarshal(out, &plain))
	write(plain)
}

// bare is JSON without its nulls, which are fields that are not set.
func bare(value interface{}) interface{} {
	if object, ok := value.(map[string]interface{}); ok {
		for key, member := range object {
			if member == nil {
				delete(object, key)
			} else {
				object[key] = bare(member)
			}
		}
	}
	if items, ok := value.([]interface{}); ok {
		for i := range items {
			items[i] = bare(items[i])
		}
	}
	return value
}

// recordProtobuf writes what a Go client sends for each object, and what a Go server reads in that.
func recordProtobuf() {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		apiextensionsv1.AddToScheme, authenticationv1.AddToScheme, authorizationv1.AddToScheme, autoscalingv1.AddToScheme,
		coordinationv1.AddToScheme, corev1.AddToScheme, eventsv1.AddToScheme,
	} {
		check(add(scheme))
	}
	metav1.AddToGroupVersion(scheme, corev1.SchemeGroupVersion)
	codec := protobuf.NewSerializer(scheme, scheme)
	for lines := json.NewDecoder(os.Stdin); lines.More(); {
		var line struct{ Object json.RawMessage }
		check(lines.Decode(&line))
		var kind metav1.TypeMeta
		check(json.Unmarshal(line.Object, &kind))
		object, err := scheme.New(kind.GroupVersionKind())
		check(err)
		check(utiljson.Unmarshal(line.Object, object))
		body := &bytes.Buffer{}
		check(codec.Encode(object, body))
		decoded, _, err := codec.Decode(body.Bytes(), nil, nil)
		check(err)
		decoded.GetObjectKind().SetGroupVersionKind(kind.GroupVersionKind())
		raw, err := json.Marshal(decoded)
		check(err)
		var read interface{}
		check(utiljson.Unmarshal(raw, &read))
		write(map[string]interface{}{"object": line.Object, "body": body.Bytes(), "read": bare(read)})
	}
}

func main() {
	file := func() []byte {
		raw, err := os.ReadFile(os.Args[2])
		check(err)
		return raw
	}
	switch os.Args[1] {
	case "validation":
		recordValidation(file())
	case "definitions":
		recordDefinitions()
	case "openapi":
		recordOpenAPI(file())
	case "protobuf":
		recordProtobuf()
	}
}
