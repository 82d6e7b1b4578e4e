package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/cert-manager/cert-manager/pkg/util/cmapichecker"
)

// runCheck returns when cert-manager's API works: check api --wait=1m.
func runCheck(ctx context.Context, args []string) error {
	flags := newFlags("startupapicheck")
	limit := flags.Duration("wait", 0, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	checker, err := cmapichecker.New(config, os.Getenv("POD_NAMESPACE"))
	if err != nil {
		return err
	}
	var last error
	err = wait.PollUntilContextTimeout(ctx, time.Second, *limit, true, func(ctx context.Context) (bool, error) {
		if last = checker.Check(ctx); last != nil {
			fmt.Println("not ready:", last)
		}
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for cert-manager's API: %w: %w", err, last)
	}
	fmt.Println("The cert-manager API is ready")
	return nil
}
