// Package bytesize writes a number of bytes for people, in the same way on the
// terminal, in findings and in the report. It never parses what people write.
package bytesize

import (
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"
)

// Text writes a size with three significant digits and a binary unit: 1.50 GiB.
func Text(n int64) string {
	switch {
	case n < 0:
		return "-" + Text(-n)
	case n < 1024:
		return fmt.Sprintf("%d B", n)
	}
	text := humanize.IBytesN(uint64(n), 3)
	if strings.HasPrefix(text, "1024 ") { // rounded up to the next unit
		text = humanize.IBytesN(uint64(n)+uint64(n)>>10, 3)
	}
	return text
}
