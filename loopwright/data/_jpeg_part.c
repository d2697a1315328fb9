/* A part of a JPEG file: rows above it are read but not computed, rows below it not read, columns beside it not computed.
   Where this is not compiled, and of rare kinds of files, _jpeg.py decodes all columns, and all rows above.
   Calls libjpeg-turbo. */

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

#if !defined(LIBJPEG_TURBO_VERSION_NUMBER) || LIBJPEG_TURBO_VERSION_NUMBER < 2001000
#error "needs libjpeg-turbo 2.1: others cannot leave out columns, or not exactly"
#endif

#define MARGIN 8 /* columns and rows beside the part, whose colours reach into it where colour is enlarged smoothly */
#define LINES 16 /* asked for at once */

typedef struct {
    struct jpeg_decompress_struct file;
    struct jpeg_error_mgr errors;
    jmp_buf failed;
    char message[JMSG_LENGTH_MAX];
} Decoder;

typedef struct {
    int left, top, right, bottom;
} Box;

static void fail(j_common_ptr file)
{
    Decoder *decoder = file->client_data;
    file->err->format_message(file, decoder->message);
    longjmp(decoder->failed, 1);
}

static void fail_if_warned(j_common_ptr file, int level)
{
    if (level < 0) /* damaged data */
        fail(file);
}

static int most(int a, int b) { return a > b ? a : b; }
static int least(int a, int b) { return a < b ? a : b; }

static void start(struct jpeg_decompress_struct *file, const Py_buffer *data, int reduction)
{
    jpeg_mem_src(file, data->buf, data->len);
    jpeg_read_header(file, TRUE);
    file->scale_num = 1;
    file->scale_denom = reduction;
    file->out_color_space = JCS_RGB;
    jpeg_start_decompress(file);
}

/* Whether scans are missing. Such a picture is smoothed: over more columns than the margin, and otherwise by each version. */
static int is_unfinished(const struct jpeg_decompress_struct *file)
{
    if (file->coef_bits == NULL) /* not progressive */
        return 0;
    for (int component = 0; component < file->num_components; component++)
        for (int number = 0; number < DCTSIZE2; number++)
            if (file->coef_bits[component][number] != 0)
                return 1;
    return 0;
}

/* Colours at a quarter: before 3.0 the library leaves some of a part's unwritten at a reduced size. */
static int has_coarse_colours(const struct jpeg_decompress_struct *file)
{
    return file->max_h_samp_factor > 2 || file->max_v_samp_factor > 2;
}

static int is_inside(const Box *box, int columns, int rows)
{
    return 0 <= box->left && box->left < box->right && box->right <= columns && 0 <= box->top && box->top < box->bottom &&
           box->bottom <= rows;
}

static void read_rows(struct jpeg_decompress_struct *file, int top, int bottom, const Py_buffer *room)
{
    jpeg_skip_scanlines(file, top);
    while ((int)file->output_scanline < bottom) {
        JSAMPROW lines[LINES];
        int count = least(LINES, bottom - file->output_scanline);
        for (int line = 0; line < count; line++)
            lines[line] = (JSAMPROW)room->buf + (size_t)(file->output_scanline - top + line) * file->output_width * 3;
        jpeg_read_scanlines(file, lines, count);
    }
}

/* What is wrong, or NULL: then the box has become what was really decoded. */
static const char *decode(struct jpeg_decompress_struct *file, const Py_buffer *data, int reduction, Box *box,
                          const Py_buffer *room)
{
    start(file, data, reduction);
    int columns = file->output_width;
    if (!is_inside(box, columns, file->output_height))
        return "the part is not one of this picture";
    if (is_unfinished(file) || has_coarse_colours(file))
        return "parts of a picture of this rare kind differ from the whole";
    int top = most(0, box->top - MARGIN);
    JDIMENSION left = most(0, box->left - MARGIN), width = least(columns, box->right + MARGIN) - left;
    jpeg_crop_scanline(file, &left, &width);
    if (room->len / 3 / width < box->bottom - top)
        return "there is no room for the part";
    read_rows(file, top, box->bottom, room);
    *box = (Box){left, top, left + width, box->bottom};
    return NULL;
}

static const char *try_decode(Decoder *decoder, const Py_buffer *data, int reduction, Box *box, const Py_buffer *room)
{
    const char *wrong;
    decoder->file.err = jpeg_std_error(&decoder->errors);
    decoder->file.client_data = decoder;
    decoder->errors.error_exit = fail;
    decoder->errors.emit_message = fail_if_warned;
    if (setjmp(decoder->failed) == 0) {
        jpeg_create_decompress(&decoder->file);
        wrong = decode(&decoder->file, data, reduction, box, room);
    } else {
        wrong = decoder->message;
    }
    jpeg_destroy_decompress(&decoder->file);
    return wrong;
}

static PyObject *decode_part(PyObject *module, PyObject *arguments)
{
    Decoder decoder;
    Py_buffer data, room;
    Box box;
    int reduction;
    const char *wrong;
    if (!PyArg_ParseTuple(arguments, "y*i(iiii)w*", &data, &reduction, &box.left, &box.top, &box.right, &box.bottom, &room))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    memset(&decoder, 0, sizeof decoder);
    wrong = try_decode(&decoder, &data, reduction, &box, &room);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&data);
    PyBuffer_Release(&room);
    if (wrong != NULL) {
        PyErr_SetString(PyExc_ValueError, wrong);
        return NULL;
    }
    return Py_BuildValue("(iiii)", box.left, box.top, box.right, box.bottom);
}

static PyMethodDef methods[] = {{"decode_part", decode_part, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_jpeg_part", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__jpeg_part(void) { return PyModule_Create(&module); }
