/* The version of what kobox/ko/native.py expects of this library. */
__attribute__((visibility("default"))) int kobox_abi(void);

int kobox_abi(void)
{
    return 1;
}
