/* What the environment variables do: run once for each setting, which is read once per process.
 *
 *     environment_test BACKEND ISA [THREADS [FROM]]       gdn_select succeeds and says so
 *     environment_test refused PART                       the message contains PART
 */
#include <gdn/gdn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
  if (argc < 3 || argc > 5) return 2;
  gdn_selection selection;
  const gdn_status status = gdn_select(NULL, &selection);
  if (strcmp(argv[1], "refused") == 0) {
    printf("%s: %s\n", gdn_status_string(status), gdn_last_error());
    return status == GDN_OK || strstr(gdn_last_error(), argv[2]) == NULL;
  }
  if (status != GDN_OK) {
    fprintf(stderr, "%s\n", gdn_last_error());
    return 1;
  }
  printf("%s %s, %d threads: %s\n", selection.backend, selection.isa, (int)selection.threads,
         selection.reason);
  if (strcmp(selection.backend, argv[1]) != 0 || strcmp(selection.isa, argv[2]) != 0) return 1;
  if (argc > 3 && selection.threads != atoi(argv[3])) return 1;
  if (argc > 4 && strcmp(selection.threads_from, argv[4]) != 0) return 1;

  /* The reference is reachable whatever GDN_ISA says about the CPU backend. */
  gdn_exec exec;
  memset(&exec, 0, sizeof exec);
  exec.struct_size = sizeof exec;
  exec.backend = "reference";
  if (gdn_select(&exec, &selection) != GDN_OK) return 1;
  return strcmp(selection.backend, "reference") != 0;
}
