// Command caisson carries an AI stack across an air gap.
package main

import (
	"os"

	"github.com/caisson/caisson/internal/ui/cli"
)

func main() { os.Exit(cli.Main()) }
