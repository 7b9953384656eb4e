/* placeholder */
int kobox_core_abi(void) { return 0; }
