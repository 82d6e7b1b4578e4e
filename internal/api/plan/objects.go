package plan

// What becomes of an object.
const (
	Add    = "add"
	Change = "change"
	Remove = "remove"
)

// ObjectChange is what becomes of one object. It is there for people: installing
// goes by charts, values and what is really there.
type ObjectChange struct {
	Object string   `json:"object"` // Deployment web/front
	Action string   `json:"action"`
	Fields []string `json:"fields,omitempty"` // of a change: "spec.replicas: 2 > 3"; secrets not shown
}
