package stack

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
)

// GitReference is a folder of a git repository at a version, as kustomize names it:
// github.com/OWNER/REPOSITORY//FOLDER?ref=TAG, or a URL of the same sort.
type GitReference struct {
	Host       string // in lower case, with its port: github.com
	Repository string // OWNER/NAME, without .git
	Folder     string // "" for the top one
	Ref        string // tag, branch or commit; "" for none
}

// What is wrong with a reference.
var (
	errNoGit = errors.New("names no repository")
	errLeads = errors.New("leads out of the repository")
)

var userRule = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9-]*@`)

// ParseGitReference takes a reference apart by kustomize's own rules: the repository ends
// at //, else after .git, else after two names.
func ParseGitReference(s string) (GitReference, error) {
	rest, query, _ := strings.Cut(strings.TrimPrefix(s, "git::"), "?")
	host, rest, err := cutHost(rest)
	if err != nil {
		return GitReference{}, fmt.Errorf("%.200q %w", s, err)
	}
	repository, folder := cutRepository(rest)
	ref := GitReference{
		Host: host, Repository: strings.TrimSuffix(repository, ".git"), Folder: strings.Trim(folder, "/"), Ref: refOf(query),
	}
	if ref.Folder != "" {
		ref.Folder = path.Clean(ref.Folder)
	}
	switch {
	case ref.Host == "" || ref.Repository == "":
		return GitReference{}, fmt.Errorf("%.200q %w", s, errNoGit)
	case ref.Folder == ".." || strings.HasPrefix(ref.Folder, "../"):
		return GitReference{}, fmt.Errorf("%.200q %w", s, errLeads)
	case ref.Folder == ".":
		ref.Folder = ""
	}
	return ref, nil
}

// cutHost splits a reference into its host and what follows.
func cutHost(s string) (host, rest string, err error) {
	scheme, after, given := strings.Cut(s, "://")
	switch {
	case !given:
		after = s
	case !isGitScheme(strings.ToLower(scheme)):
		return "", "", errNoGit
	}
	user := userRule.FindString(after)
	after = after[len(user):]
	end := strings.IndexByte(after, '/')
	if colon := strings.IndexByte(after, ':'); !given && colon > 0 && (end < 0 || colon < end) {
		end = colon // git@github.com:OWNER/NAME
	}
	if end < 0 {
		return "", "", errNoGit
	}
	host = strings.ToLower(after[:end])
	if !given && user == "" && host != "github.com" {
		return "", "", errNoGit // a path
	}
	return host, strings.TrimPrefix(after[end+1:], "/"), nil
}

func isGitScheme(s string) bool { return s == "https" || s == "http" || s == "ssh" }

// cutRepository splits a path into the repository and a folder in it.
func cutRepository(s string) (repository, folder string) {
	if at := strings.Index(s, "//"); at >= 0 {
		return s[:at], s[at+2:]
	}
	if at := strings.Index(s, ".git"); at >= 0 && (at+4 == len(s) || s[at+4] == '/') {
		return s[:at+4], s[at+4:]
	}
	parts := strings.SplitN(s, "/", 3)
	if len(parts) < 2 {
		return "", ""
	}
	repository = parts[0] + "/" + parts[1]
	if len(parts) == 3 {
		folder = parts[2]
	}
	return repository, folder
}

// refOf is the version that a reference's query names.
func refOf(query string) string {
	values, err := url.ParseQuery(query)
	if err != nil {
		return ""
	}
	if ref := values.Get("ref"); ref != "" {
		return ref
	}
	return values.Get("version")
}

var refRule = regexp.MustCompile(`^[0-9A-Za-z][-._+/0-9A-Za-z]*$`)

// Archive is where the host gives the repository at that version as a .tar.gz, or "" where
// that is not known of the host, or no version is named.
func (r GitReference) Archive() string {
	if !refRule.MatchString(r.Ref) || strings.Contains(r.Ref, "..") || strings.Count(r.Repository, "/") < 1 {
		return ""
	}
	switch r.Host {
	case "github.com":
		return "https://github.com/" + r.Repository + "/archive/" + r.Ref + ".tar.gz"
	case "gitlab.com":
		name := path.Base(r.Repository) + "-" + strings.ReplaceAll(r.Ref, "/", "-")
		return "https://gitlab.com/" + r.Repository + "/-/archive/" + r.Ref + "/" + name + ".tar.gz"
	}
	return ""
}

// RemotePlace is where something lies that a kustomization names outside its archive: the
// address of a file, whose folder is "", or that of an archive and the folder in it. It is
// false where the name does not tell. With onlyFile nothing but a file can be meant.
func RemotePlace(name string, onlyFile bool) (address, folder string, ok bool) {
	if isFileURL(name, onlyFile) {
		return name, "", true
	}
	ref, err := ParseGitReference(name)
	if err != nil || onlyFile || ref.Archive() == "" {
		return "", "", false
	}
	if ref.Folder == "" {
		ref.Folder = "."
	}
	return ref.Archive(), ref.Folder, true
}

// isFileURL says whether a URL leads to a file, and not to a repository.
func isFileURL(s string, onlyFile bool) bool {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		return false
	}
	if onlyFile {
		return true
	}
	values := u.Query()
	if strings.Contains(u.Path, "//") || strings.Contains(u.Path, ".git/") || values.Has("ref") || values.Has("version") {
		return false
	}
	ofRepository := strings.EqualFold(u.Host, "github.com")
	if ofRepository && !strings.Contains(u.Path, "/raw/") && !strings.Contains(u.Path, "/releases/") {
		return false
	}
	return slices.Contains([]string{".yaml", ".yml", ".json"}, path.Ext(u.Path))
}
